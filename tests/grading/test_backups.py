"""A gradebook that is lost, damaged, old or busy; the copies of it, and the way back."""

import os
import shutil
import sqlite3
import sys
from contextlib import closing

import pytest
from helpers import RIGHT, make_small_course, run, small_notebook, submit

from cs336lite.course.paths import EDITION_MARKER, CourseError
from cs336lite.grading import backups, gradebook, hooks, runner
from cs336lite.grading.locks import only_writer
from cs336lite.grading.record import Recorder
from cs336lite.grading.sharing import PRIVATE, Stop

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")


@pytest.fixture(scope="module")
def graded_once(tmp_path_factory):
    """A course in which one submission is graded: to be copied, and left as it is."""
    course = make_small_course(tmp_path_factory.mktemp("graded"))
    assert runner.nbgrader_api(course).generate_assignment("a1_bpe")["success"]
    submit(course, "ada", small_notebook(*RIGHT))
    runner.grade_class(course, "a1_bpe")
    return course


@pytest.fixture
def course(graded_once, tmp_path):
    shutil.copytree(graded_once.parent, tmp_path / "course")
    return tmp_path / "course" / "assignments"


def recorder(course):
    return Recorder(course, "a1_bpe", runner.course_config(course))


def by_hand(course, score):
    """A score that a person gives, as in formgrader."""
    with recorder(course) as opened:
        opened.gradebook.find_grade("grade_double", "a1_bpe", "a1_bpe", "ada").manual_score = score
        opened.gradebook.db.commit()


def score(course):
    with recorder(course) as opened:
        return opened.gradebook.find_submission("a1_bpe", "ada").score


# -- a gradebook that cannot be used ----------------------------------------------------------------------------


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def zeroed(file):
    data = bytearray(file.read_bytes())
    for page in range(4096, len(data), 4096):
        data[page : page + 4096] = bytes(4096)
    file.write_bytes(data)


def older(file):
    with closing(sqlite3.connect(file)) as opened:
        opened.execute("ALTER TABLE student DROP COLUMN lms_user_id")
        opened.commit()


def folder(file):
    file.unlink()
    file.mkdir()


BROKEN = {
    "text": (lambda file: file.write_bytes(b"my grades\n" * 500), r"is damaged \(file is not a database\)"),
    "cut": (cut, "is damaged"),
    "zeroed": (zeroed, "is damaged"),
    "empty": (lambda file: file.write_bytes(b""), r"is empty, although autograded/ holds 1 graded notebook\."),
    "gone": (lambda file: file.unlink(), "is missing, although autograded/ holds 1 graded notebook"),
    "older": (older, "older nbgrader.*nbgrader db upgrade"),
    "a folder": (folder, "is no file"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_gradebook_that_cannot_be_used_is_told_in_a_sentence_and_left_alone(course, kind):
    file = course / "gradebook.db"
    harm, told = BROKEN[kind]
    harm(file)
    before = file.read_bytes() if file.is_file() else None
    with pytest.raises(CourseError, match=told) as caught:
        runner.grade_class(course, "a1_bpe")
    assert "\n" not in str(caught.value)
    if kind != "older":
        (newest,) = backups.kept(course)
        assert f"cs336lite restore {newest.name}" in str(caught.value)
    assert (file.read_bytes() if file.is_file() else None) == before


def test_a_gradebook_that_was_made_anew_is_not_taken_for_the_old_one(course):
    (course / "gradebook.db").unlink()
    assert runner.nbgrader_api(course).generate_assignment("a1_bpe")["success"]
    with pytest.raises(CourseError, match=r"holds no grade of a1_bpe, although .* made anew.*cs336lite restore"):
        runner.grade_class(course, "a1_bpe")
    shutil.rmtree(course / "autograded" / "ada")
    assert len(runner.grade_class(course, "a1_bpe")) == 1


def test_a_course_without_a_gradebook_is_told_to_release_first_and_gets_none(small_course):
    submit(small_course, "ada", small_notebook(*RIGHT))
    with pytest.raises(CourseError, match=r"release it first .*generate_assignment a1_bpe"):
        runner.grade_class(small_course, "a1_bpe")
    assert not (small_course / "gradebook.db").exists()


def test_a_busy_gradebook_is_waited_for_and_then_told(course, monkeypatch):
    monkeypatch.setattr(gradebook, "BUSY_SECONDS", 0.01)
    submit(course, "bo", small_notebook(*RIGHT))
    with closing(sqlite3.connect(course / "gradebook.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Stop, match=r"is in use by another program"):
            runner.grade_class(course, "a1_bpe")
        other.execute("ROLLBACK")
    assert len(runner.grade_class(course, "a1_bpe")) == 2


def test_every_connection_of_nbgrader_waits_for_others(course):
    with recorder(course) as opened:
        from sqlalchemy import text

        found = opened.gradebook.db.execute(text("PRAGMA busy_timeout")).scalar()
    assert found == gradebook.BUSY_SECONDS * 1000


# -- copies -----------------------------------------------------------------------------------------------------


def test_the_gradebook_is_copied_before_it_is_changed_and_only_then(course):
    (first,) = backups.kept(course)
    assert first.stat().st_mode & 0o077 == 0 and "0 scores" in backups.listed(course)
    runner.grade_class(course, "a1_bpe")  # nothing to record
    assert backups.kept(course) == [first]
    by_hand(course, 1.5)
    submit(course, "bo", small_notebook(*RIGHT))
    runner.grade_class(course, "a1_bpe")
    _, second = backups.kept(course)
    assert "2 scores, 1 of them with one that a person gave" in backups.listed(course)
    with closing(sqlite3.connect(second)) as opened:
        assert opened.execute("SELECT id FROM student").fetchall() == [("ada",)]


def test_a_copy_that_would_be_the_same_is_not_made(course):
    file = course / "gradebook.db"
    new = backups.back_up(course, file, PRIVATE)
    assert backups.back_up(course, file, PRIVATE) == new and len(backups.kept(course)) == 2
    by_hand(course, 1)
    assert backups.back_up(course, file, PRIVATE) != new and len(backups.kept(course)) == 3
    assert not [path for path in (course / "backups").iterdir() if path not in backups.kept(course)]


def test_nbgraders_own_commands_copy_the_gradebook_once_an_hour(course):
    (first,) = backups.kept(course)
    by_hand(course, 1)
    notebook = str(course / "submitted" / "ada" / "a1_bpe" / "a1_bpe.ipynb")
    hooks.remove_what_is_no_file("a1_bpe", "ada", [notebook])
    assert backups.kept(course) == [first]
    os.utime(first, (0, 0))
    for _ in range(2):
        hooks.remove_what_is_no_file("a1_bpe", "ada", [notebook])
        assert len(backups.kept(course)) == 2


def test_kept_are_the_last_copies_and_the_first_of_each_day(course):
    folder = course / "backups"
    shutil.rmtree(folder)
    folder.mkdir()
    for day in (1, 2, 3):
        for hour in range(8):
            (folder / f"gradebook-2026-11-{day:02}T{hour:02}0000Z.db").write_bytes(b"")
    (folder / "gradebook-2026-11-03T070000Z-2.db").write_bytes(b"")
    (folder / "mine.db").write_bytes(b"")
    before = backups.kept(course)
    assert before[-1].name == "gradebook-2026-11-03T070000Z-2.db"
    backups.thin(course)
    assert set(backups.kept(course)) == {*before[-backups.LAST :], before[0], before[8]}
    assert (folder / "mine.db").exists()


# -- the way back -----------------------------------------------------------------------------------------------


def test_a_copy_is_put_back_and_the_present_one_is_kept(course):
    by_hand(course, 1)
    wanted = backups.back_up(course, course / "gradebook.db", PRIVATE)
    assert score(course) == 3
    by_hand(course, 2)
    with recorder(course) as opened:  # and formgrader, which has it open, sees the change
        assert opened.gradebook.find_submission("a1_bpe", "ada").score == 4
        opened.gradebook.db.rollback()
        said = backups.restore(course, wanted.name)
        assert opened.gradebook.find_submission("a1_bpe", "ada").score == 3
    kept = backups.kept(course)[-1]
    assert kept.name in said and kept != wanted
    backups.restore(course, kept.name)
    assert score(course) == 4


@pytest.mark.parametrize("kind", ["text", "cut", "zeroed", "empty", "gone"])
def test_a_copy_is_put_in_the_place_of_a_damaged_gradebook(course, kind):
    file = course / "gradebook.db"
    by_hand(course, 1)
    wanted = backups.back_up(course, file, PRIVATE)
    BROKEN[kind][0](file)
    before = file.read_bytes() if file.exists() else None
    file.with_name("gradebook.db-journal").write_bytes(b"of the damaged one")
    backups.restore(course, wanted.name)
    assert score(course) == 3 and file.stat().st_mode & 0o077 == 0
    assert not file.with_name("gradebook.db-journal").exists()  # SQLite would play it into the copy
    aside = [path.read_bytes() for path in course.glob("gradebook.db.damaged-*") if not path.name.endswith("journal")]
    assert aside == ([] if before is None else [before])
    assert len(runner.grade_class(course, "a1_bpe")) == 1 and score(course) == 3


def test_what_cannot_be_put_back_is_told(course):
    (one,) = backups.kept(course)
    with pytest.raises(CourseError, match="there is no copy"):
        backups.restore(course, "gradebook-2020-01-01T000000Z.db")
    with only_writer(course, "a1_bpe"), pytest.raises(CourseError, match="is recording"):
        backups.restore(course, one.name)
    one.write_bytes(b"my grades\n" * 500)
    with pytest.raises(CourseError, match="damaged"):
        backups.restore(course, one.name)
    assert score(course) == 6


def test_the_command_lists_and_restores(course):
    (one,) = backups.kept(course)
    listed = run("cs336lite", "restore", cwd=course)
    assert listed.returncode == 0 and one.name in listed.stdout, listed.stderr
    done = run("cs336lite", "restore", one.name, cwd=course)
    assert done.returncode == 0 and "again" in done.stdout, done.stderr
    assert run("cs336lite", "restore", "nonsense", cwd=course).returncode == 2
    (course.parent / EDITION_MARKER).write_text("{}")
    assert run("cs336lite", "restore", cwd=course).returncode == 2
