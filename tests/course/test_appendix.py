"""An appendix of a lecture: the rest of its part of the package, built, released and updated as lectures are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nbformat
import pytest
from helpers import planned, run
from miniature import add_appendix, edit, files_of, make_course, runs
from nbclient import NotebookClient

from cs336lite.course.build import build
from cs336lite.course.leaks import leaks
from cs336lite.course.map import users
from cs336lite.course.release import release
from cs336lite.course.results import VARIABLE, command
from cs336lite.course.update import update

TEXT, BOOK, MODULE = (
    "notebooks/text/appendix/01x_letters.py",
    "notebooks/appendix/01x_letters.ipynb",
    "cs336lite/letters.py",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    root = make_course(tmp_path_factory.mktemp("appendix") / "course")
    add_appendix(root)
    assert [(report.name, report.status) for report in build(root, progress=False)] == [
        ("01_words", "built"),
        ("01x_letters", "built"),
        ("a1_bpe", "built"),
        ("02_counts", "built"),
    ]
    return root


@pytest.fixture
def course(built, tmp_path) -> Path:
    """A copy of the built course, to be changed."""
    root = Path(shutil.copytree(built, tmp_path / "course"))
    (root / "runs.txt").unlink()
    return root


@pytest.fixture(scope="module")
def edition(built, tmp_path_factory) -> Path:
    return release(built, tmp_path_factory.mktemp("edition") / "students")


def statuses(root: Path, *names: str, **options) -> dict[str, str]:
    return {report.name: report.status for report in build(root, names or None, progress=False, **options)}


def said(root: Path) -> str:
    return "\n".join(map(str, build(root, check=True, progress=False)))


def test_it_is_built_into_a_folder_of_its_own_and_exports_a_module(built):
    assert runs(built) == ["01", "01x", "02"]
    notebook = nbformat.read(built / BOOK, as_version=4)
    assert notebook.cells[2].outputs[0].text == "before: ['o', 'n', 'e']\n"
    assert "[1, 2, 3]" in notebook.cells[4].outputs[0].text  # a recorded result
    assert "about 5 minutes to read and do" in notebook.cells[0].source
    assert (built / MODULE).read_text(encoding="utf-8").startswith(f"# Built from {TEXT} by")
    code = "from cs336lite.letters import letters, words; print(words('a b'), letters('ab'))"
    assert run("python", "-c", code, cwd=built, PYTHONPATH=str(built)).stdout == "['a', 'b'] ['a', 'b']\n"


def test_a_lectures_module_can_be_imported_before_its_appendix_has_run(course):
    (course / MODULE).unlink()
    code = "import cs336lite.words, cs336lite.counts, cs336lite.bpe"
    assert run("python", "-c", code, cwd=course, PYTHONPATH=str(course)).returncode == 0


def test_only_what_changed_runs_again(course):
    assert set(statuses(course).values()) == {"unchanged"} and runs(course) == []
    edit(course / TEXT, 'letters("one")', 'letters("two")')
    assert "01x_letters: out of step" in said(course)
    assert statuses(course, "02") == {"01_words": "unchanged", "02_counts": "unchanged", "a1_bpe": "unchanged"}
    assert statuses(course, "01x") == {"01_words": "unchanged", "01x_letters": "built"} and runs(course) == ["01x"]
    edit(course / "notebooks/text/01_words.py", "return re.findall", "return [] or re.findall")
    assert statuses(course)["01x_letters"] == "built" and runs(course) == ["01x", "01", "01x", "02"]


def test_edits_by_hand_and_outputs_that_differ_are_found(course):
    edit(course / MODULE, "in order", "in some order")
    edit(course / BOOK, "before: ['o'", "before: ['x'")
    found = said(course)
    assert f"{MODULE} was edited by hand: make the change in {TEXT}" in found
    assert f"{BOOK} holds outputs that the build did not write" in found
    assert statuses(course, "01x", force=True)["01x_letters"] == "built"
    assert {*statuses(course, "01x", check=True, execute=True).values()} == {"in step"}


def test_what_a_text_that_is_gone_has_left_is_named(course):
    (course / TEXT).unlink()
    found = said(course)
    assert f"{MODULE}: out of step" in found and f"{BOOK}: out of step" in found


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("notebooks/text/01x_letters.py", "a lecture is notebooks/text/NN_topic.py"),
        ("notebooks/text/appendix/01_letters.py", "an appendix notebooks/text/appendix/NNx_topic.py"),
        ("notebooks/text/appendix/letters.py", "an appendix notebooks/text/appendix/NNx_topic.py"),
        ("notebooks/text/appendix/07x_letters.py", "belongs to a lecture, and there is no lecture 07"),
    ],
)
def test_a_text_in_the_wrong_place_is_named_with_the_right_one(course, place, problem):
    (course / TEXT).rename(course / place)
    assert problem in said(course)


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        (
            'exercise="f" minutes=5 difficulty=1\ndef f():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION',
            "no exercises",
        ),
        ('locked="here"\n1', "belong to assignments"),
    ],
)
def test_exercises_belong_elsewhere(course, cell, problem):
    with (course / TEXT).open("a", encoding="utf-8") as file:
        file.write(f"\n# %% {cell}\n")
    assert problem in said(course)


def test_the_map_shows_what_it_builds_and_who_uses_it(course):
    assert users(course)["letters"] == ["01x_letters"] and "01x_letters" in users(course)["words"]
    edit(
        course / "notebooks/text/02_counts.py", "from cs336lite.words", "import cs336lite.letters\nfrom cs336lite.words"
    )
    assert users(course)["letters"] == ["01x_letters", "02_counts"]


def test_the_command_for_a_recorded_result_names_the_notebook_that_computes_it(course, monkeypatch):
    monkeypatch.chdir(course / "notebooks")
    assert command("01x_long.json") == f"{VARIABLE}=01x_long.json jupyter execute {BOOK}"
    assert command("01_long.json") == f"{VARIABLE}=01_long.json jupyter execute notebooks/01_words.ipynb"


# ---------------------------------------------------------------------------------------------------- the student edition


def test_an_edition_holds_it_without_what_stands_below_a_prediction(built, edition):
    notebook = nbformat.read(edition / BOOK, as_version=4)
    assert notebook.cells[2].outputs and not notebook.cells[4].outputs
    assert (edition / MODULE).read_text(encoding="utf-8").startswith(f"# Built in {BOOK}: read it there.\n")
    assert not list(edition.rglob("text")) and leaks(built, edition) == []


def test_it_runs_in_an_edition_on_the_editions_own_package(edition):
    path = edition / BOOK
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].source += "\nimport cs336lite\nprint(cs336lite.__file__)"
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}})
    client.execute(env={**os.environ, "PYTHONPATH": str(edition)})
    assert str(edition / "cs336lite") in notebook.cells[2].outputs[0].text
    assert "[1, 2, 3]" in notebook.cells[4].outputs[0].text
    (edition / "runs.txt").unlink()


def test_an_answer_in_it_is_found(course, edition, tmp_path):
    shutil.copytree(edition, tmp_path / "shown")
    edit(tmp_path / "shown" / BOOK, "one two three", "neighbours_of_the_word = itertools.pairwise(word)")
    assert any(f"{BOOK}: a line of a solution" in line for line in leaks(course, tmp_path / "shown"))
    with (course / TEXT).open("a", encoding="utf-8") as file:
        file.write(
            "\n# %%\ndef count(word):\n    neighbours_of_the_word = itertools.pairwise(word)\n"
            '    if not isinstance(word, list):\n        raise TypeError("count_pairs takes a list of symbols")\n'
        )
    assert any(f"{TEXT} repeats lines" in line for line in leaks(course, edition))


def test_an_update_brings_a_new_one_and_keeps_what_was_written_in_it(course, edition, tmp_path):
    mine = Path(shutil.copytree(edition, tmp_path / "mine"))
    edit(course / TEXT, "The rest of", "What else belongs to")
    assert set(statuses(course).values()) <= {"built", "unchanged"}
    newer = release(course, tmp_path / "newer")
    edit(mine / BOOK, "one two three", "my own words")
    told = update(mine, newer)
    after = files_of(mine)
    assert after[BOOK] == files_of(newer)[BOOK] and b"What else belongs to" in after[BOOK]
    assert b"my own words" in after["notebooks/appendix/01x_letters (mine).ipynb"] and "(mine)" in told


# --------------------------------------------------------------------------------------------------------- the real course


def test_every_appendix_of_the_course_has_its_line_in_its_lecture():
    """A lecture points to its appendix, and the appendix back."""
    texts = {item.name: item for item in planned()}
    for name, item in texts.items():
        if item.kind == "appendix":
            part = name.split("x_")[0]  # 03 of 03x_positions, 03b of 03bx_presets
            lecture = next(
                other for other in texts.values() if other.kind == "lecture" and other.name.split("_")[0] == part
            )
            assert f"(appendix/{name}.ipynb)" in lecture.text.path.read_text(encoding="utf-8")
            assert f"(../{lecture.name}.ipynb)" in item.text.path.read_text(encoding="utf-8")
