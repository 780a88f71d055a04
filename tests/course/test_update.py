"""A newer edition reaches students who work in an older one, and what they did stays."""

from __future__ import annotations

import json
import os
import shutil
import stat
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from miniature import BPE, HIDDEN, PUBLIC, edit, files_of, make_course

from cs336lite.course import manifest
from cs336lite.course import update as module
from cs336lite.course.build import build
from cs336lite.course.export import kept_beside
from cs336lite.course.last_cell import export_student
from cs336lite.course.leaks import leaks
from cs336lite.course.paths import EDITION_MARKER, CourseError
from cs336lite.course.release import release
from cs336lite.course.unlock import export_unlock, unlock
from cs336lite.course.update import JOURNAL, update

MINE = "assignments/a1_bpe/a1_bpe.ipynb"


@pytest.fixture(scope="module")
def editions(tmp_path_factory) -> dict[str, Path]:
    """The course, an edition of it, and a newer one in which a lecture, a public check and an assignment's text differ."""
    folder = tmp_path_factory.mktemp("update")
    root = make_course(folder / "course")
    (root / "notebooks/results/old.json").write_text("{}", encoding="utf-8")
    second = BPE.replace("a1 · Pairs", "a2 · Attention").replace("module: bpe", "module: attention")
    second = second.replace("a1_bpe", "a2_attention")
    for name, text in (
        ("text", second),
        ("public", PUBLIC),
        ("hidden", HIDDEN),
    ):
        (root / f"assignments/{name}/a2_attention.py").write_text(text, encoding="utf-8")
    assert all(report.ok for report in build(root))
    old = release(root, folder / "old", only=["a1"], archive=True).with_suffix("")
    edit(root / "notebooks/text/01_words.py", "cut at spaces", "cut at white space")
    edit(root / "assignments/text/a1_bpe.py", "How often each pair", "How many times each pair")
    edit(root / "assignments/public/a1_bpe.py", "two symbols are one pair", "two symbols make one pair")
    (root / "notebooks/results/old.json").unlink()
    assert all(report.ok for report in build(root))
    release(root, folder / "new", archive=True)
    return {
        "root": root,
        "old": old,
        "old.zip": folder / "old.zip",
        "new": folder / "new",
        "new.zip": folder / "new.zip",
    }


@pytest.fixture
def mine(editions, tmp_path) -> Path:
    """The edition a student works in."""
    return Path(shutil.copytree(editions["old"], tmp_path / "mine"))


def test_an_edition_of_some_assignments_has_no_others(editions):
    assert [p.name for p in (editions["old"] / "assignments").iterdir() if p.name != "public"] == ["a1_bpe"]
    assert [p.name for p in (editions["old"] / "assignments/public").iterdir()] == ["a1_bpe.py"]
    assert (editions["old"] / "cs336lite/attention.py").read_text(encoding="utf-8").startswith("# Stub of a2_attention")
    assert "`a2_attention`" not in (editions["old"] / "README.md").read_text(encoding="utf-8")
    assert leaks(editions["root"], editions["old"]) == []
    with pytest.raises(CourseError, match="there is no assignment 'a9'"):
        release(editions["root"], editions["old"].parent / "none", only=["a9"])


@pytest.mark.parametrize("source", ["new", "new.zip"])
def test_an_edition_nobody_worked_in_becomes_the_newer_one(editions, mine, source):
    before = files_of(mine)
    told = update(mine, editions[source], dry_run=True)
    assert told.startswith("nothing was changed") and files_of(mine) == before
    said = update(mine, editions[source])
    assert files_of(mine) == files_of(editions["new"])
    assert f"replaced: {MINE}" in said and "new: assignments/a2_attention/a2_attention.ipynb" in said
    assert "removed, since the course has it no more: notebooks/results/old.json" in said
    assert update(mine, editions[source]) == "this edition is up to date"
    assert sorted(os.listdir(mine)) == sorted(os.listdir(editions["new"]))  # nothing is left of the update


def work(mine: Path) -> dict[str, bytes]:
    """What a student does in a term; the files that must stay, byte by byte."""
    edit(mine / MINE, "# YOUR CODE HERE", "pass  # mine")
    export_student("a1_bpe", root=mine)
    (mine / "notes.md").write_text("my notes", encoding="utf-8")
    (mine / "assignments/a1_bpe/try.py").write_text("x = 1", encoding="utf-8")
    kept = (MINE, "cs336lite/bpe.py", "notes.md", "assignments/a1_bpe/try.py")
    return {name: (mine / name).read_bytes() for name in kept}


def test_what_a_student_did_stays(editions, mine):
    kept = work(mine)
    lecture = mine / "notebooks/01_words.ipynb"
    edit(lecture, "one two", "one two three")
    changed = lecture.read_bytes()
    edit(mine / "notebooks/02_counts.ipynb", "one three", "two three")
    edit(mine / "assignments/public/a1_bpe.py", "the pair is found", "my title")
    said = update(mine, editions["new.zip"])
    after = files_of(mine)
    assert {name: after[name] for name in kept} == kept
    assert after["assignments/a1_bpe/a1_bpe (new).ipynb"] == files_of(editions["new"])[MINE]
    assert f"yours, and left as it is: {MINE}; its new text is beside it, assignments/a1_bpe/a1_bpe (new).ipynb" in said
    assert after["notebooks/01_words (mine).ipynb"] == changed
    assert "yours had changes, and is kept as notebooks/01_words (mine).ipynb" in said
    assert (
        b"two three" in after["notebooks/02_counts.ipynb"] and "02_counts" not in said
    )  # the course has nothing new there
    assert b"my title" in after["assignments/public/a1_bpe (mine).py"]
    # and nothing more happens the next time
    assert update(mine, editions["new"]) == "this edition is up to date"
    assert files_of(mine) == after


def test_running_a_lecture_is_no_change_of_it(editions, mine):
    lecture = mine / "notebooks/01_words.ipynb"
    notebook = json.loads(lecture.read_bytes())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], 17
    notebook["cells"].append(
        {"cell_type": "code", "source": [], "metadata": {}, "outputs": [], "execution_count": None}
    )
    lecture.write_text(json.dumps(notebook), encoding="utf-8")
    update(mine, editions["new"])
    assert files_of(mine) == files_of(editions["new"])


def test_an_unlocked_reference_stays(editions, mine, tmp_path):
    unlock(mine, "a1", source=export_unlock(editions["root"], "a1", tmp_path / "a1_bpe.unlock.py"))
    before = (mine / "cs336lite/bpe.py").read_bytes()
    update(mine, editions["new"])
    assert (mine / "cs336lite/bpe.py").read_bytes() == before and kept_beside(mine, "bpe").exists()


def test_what_was_deleted_comes_back_and_what_is_in_the_way_steps_aside(editions, mine):
    (mine / MINE).unlink()
    (mine / "assignments/a2_attention").mkdir()
    (mine / "assignments/a2_attention/a2_attention.ipynb").write_text("{}", encoding="utf-8")
    update(mine, editions["new"])
    after = files_of(mine)
    assert after[MINE] == files_of(editions["new"])[MINE]
    assert after["assignments/a2_attention/a2_attention.ipynb"] == b"{}"
    assert "assignments/a2_attention/a2_attention (new).ipynb" in after


def test_an_older_edition_is_refused(editions, mine):
    update(mine, editions["new"])
    before = files_of(mine)
    with pytest.raises(CourseError, match="before this edition"):
        update(mine, editions["old.zip"])
    assert files_of(mine) == before


def test_each_new_edition_is_later_and_the_same_one_has_the_same_date(editions, monkeypatch, tmp_path):
    past = datetime(2000, 1, 1, tzinfo=UTC)
    monkeypatch.setattr(manifest, "now", lambda: past)
    dates = [manifest.released(tmp_path, name) for name in ("a", "b", "a")]
    assert dates[0] == dates[2] == "2000-01-01T00:00:00Z" < dates[1]
    monkeypatch.setattr(manifest, "now", lambda: past - timedelta(days=1))
    assert manifest.released(tmp_path, "c") > dates[1]


def repacked(source: Path, target: Path, change) -> Path:
    """An archive with other entries: ``change`` gets and gives (name, content, attributes)."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name, data, attributes in change([(i.filename, old.read(i), i.external_attr) for i in old.infolist()]):
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes
            new.writestr(info, data)
    return target


LINK = (stat.S_IFLNK | 0o777) << 16


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda e: [*e, ("new/../../evil.py", b"x", 0)], "a path out of it"),
        (lambda e: [*e, ("/evil.py", b"x", 0)], "a path out of it"),
        (lambda e: [*e, ("new/C:evil.py", b"x", 0)], "a path out of it"),
        (lambda e: [*e, ("new/link", b"/etc/passwd", LINK)], "holds a link"),
        (lambda e: [*e, ("other/.cs336lite-edition", b"{}", 0)], "is no student edition"),
        (lambda e: [x for x in e if not x[0].endswith("-edition")], "is no student edition"),
        (lambda e: [x for x in e if not x[0].endswith("README.md")], "is damaged, at README.md"),
        (lambda e: [(n, d + b" " if n.endswith("words.py") else d, a) for n, d, a in e], "not as it was released"),
        (lambda e: [(n, b"{" if n.endswith("-edition") else d, a) for n, d, a in e], "is damaged"),
    ],
)
def test_a_damaged_or_hostile_archive_changes_nothing(editions, mine, tmp_path, change, problem):
    before = files_of(mine)
    with pytest.raises(CourseError, match=problem):
        update(mine, repacked(editions["new.zip"], tmp_path / "bad.zip", change))
    assert files_of(mine) == before and not (tmp_path / "evil.py").exists()


@pytest.mark.parametrize(
    "path",
    [
        "../x.py",
        "/x.py",
        "a/../x.py",
        ".git/config",
        "notebooks/../../x",
        "x.sh",
        "cs336lite\\x.py",
        "C:x.py",
        ".venv/x.py",
    ],
)
def test_a_list_names_no_other_place(path):
    with pytest.raises(CourseError, match="damaged"):
        manifest.Manifest.from_json({"edition": "student", "files": {path: "0"}})


def test_only_editions_are_updated_and_by_editions(editions, mine, tmp_path):
    with pytest.raises(CourseError, match="updated with git"):
        update(editions["root"], editions["new"])
    with pytest.raises(CourseError, match="which edition"):
        update(mine, None)
    with pytest.raises(CourseError, match="there is no"):
        update(mine, tmp_path / "none.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CourseError, match="is no student edition"):
        update(mine, tmp_path / "empty")
    (tmp_path / "cut.zip").write_bytes(editions["new.zip"].read_bytes()[:5000])
    with pytest.raises(CourseError, match=r"neither a folder nor a whole \.zip"):
        update(mine, tmp_path / "cut.zip")
    (mine / EDITION_MARKER).write_text('{"edition": "student", "version": "0.1.0"}', encoding="utf-8")
    with pytest.raises(CourseError, match="of an older kind"):
        update(mine, editions["new"])


def test_links_are_not_followed(editions, mine, tmp_path):
    outside = tmp_path / "outside"
    shutil.copytree(mine / "notebooks", outside)
    before = files_of(outside)
    shutil.rmtree(mine / "notebooks")
    (mine / "notebooks").symlink_to(outside)
    with pytest.raises(CourseError, match="is a link or a file where the edition has a folder"):
        update(mine, editions["new"])
    assert files_of(outside) == before
    (tmp_path / "linked").mkdir()
    shutil.copytree(editions["new"], tmp_path / "linked", dirs_exist_ok=True)
    (tmp_path / "linked/README.md").unlink()
    (tmp_path / "linked/README.md").symlink_to("/etc/passwd")
    with pytest.raises(CourseError, match=r"README.md is a link"):
        update(mine, tmp_path / "linked")


def test_a_full_disk_changes_nothing(editions, mine, monkeypatch):
    before = files_of(mine)

    def full(path, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(CourseError, match=r"No space left on device\): nothing was changed"):
            update(mine, editions["new.zip"])
    assert files_of(mine) == before and not (mine / JOURNAL).exists()


@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_an_update_that_is_cut_off_is_finished_by_the_next(editions, mine, monkeypatch, after):
    kept = work(mine)
    edit(mine / "notebooks/01_words.ipynb", "one two", "one two three")
    replace, done = os.replace, []

    def cut_off(source, target):
        if Path(source).parent.name == JOURNAL:
            if len(done) >= after:
                raise KeyboardInterrupt
            done.append(target)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "replace", cut_off)
        with pytest.raises(KeyboardInterrupt):
            update(mine, editions["new.zip"])
    assert (mine / JOURNAL).is_dir()
    assert update(mine, None) == "the update that was cut off is done"
    finished = files_of(mine)
    assert {name: finished[name] for name in kept} == kept
    assert b"one two three" in finished["notebooks/01_words (mine).ipynb"]
    assert finished["notebooks/01_words.ipynb"] == files_of(editions["new"])["notebooks/01_words.ipynb"]
    assert update(mine, editions["new"]) == "this edition is up to date" and not (mine / JOURNAL).exists()


def test_a_folder_that_cannot_be_written_is_named_before_anything_changes(editions, mine, monkeypatch):
    access = os.access
    monkeypatch.setattr(module.os, "access", lambda path, how: Path(path).name != "public" and access(path, how))
    before = files_of(mine)
    with pytest.raises(CourseError, match=r"nothing can be written into .*public: nothing was changed"):
        update(mine, editions["new"])
    assert files_of(mine) == before
