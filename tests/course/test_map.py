"""The map of the course is the course."""

from helpers import planned
from miniature import REAL, make_course

from cs336lite.course.map import read, users, write


def test_the_map_in_the_readme_shows_the_course_as_it_is():
    assert read(REAL / "assets" / "map.png") == users(REAL, planned()), "run `make build`"
    assert "assets/map.png" in (REAL / "README.md").read_text()


def test_every_text_that_builds_or_uses_something_is_on_the_map():
    found = users(REAL, planned())
    assert set().union(*found.values()) == {item.name for item in planned()}
    assert found["attention"][0] == "a2_attention" and "03_architecture" in found["attention"]


def test_a_map_follows_the_texts(tmp_path):
    root = make_course(tmp_path / "course")
    write(root, tmp_path / "before.png")
    assert read(tmp_path / "before.png") == users(root)
    with (root / "notebooks/text/02_counts.py").open("a") as file:
        file.write("\n# %%\nimport cs336lite.words\n")
    assert "02_counts" in users(root)["words"]
