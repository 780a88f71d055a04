"""Feedback reaches the student who handed in, by nbgrader's own commands, in an exchange of the test's own."""

import getpass
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from helpers import RIGHT, run, small_notebook, submit
from nbgrader.api import Gradebook

from cs336lite.course.paths import CourseError
from cs336lite.grading import runner
from cs336lite.teaching.handback import hand_back

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux"),
    pytest.mark.skipif(shutil.which("id") is None, reason="nbgrader needs a user name"),
]
WRONG = "def double(x):\n    return x * x"


@pytest.fixture
def exchange(tmp_path, monkeypatch):
    exchange = tmp_path / "exchange"
    exchange.mkdir()
    exchange.chmod(0o777)
    monkeypatch.setenv("CS336LITE_EXCHANGE", str(exchange))
    return exchange


@pytest.fixture
def released(small_course, exchange):
    assert runner.nbgrader_api(small_course).generate_assignment("a1_bpe")["success"]
    return small_course


def nbgrader(*arguments, cwd):
    result = run("nbgrader", *arguments, cwd=cwd)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stderr


def command(*arguments, cwd):
    result = run("cs336lite", *arguments, cwd=cwd)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def score_on(page: Path) -> str:
    text = page.read_text()
    return next(f"{n}" for n in range(7) if f"{n} of 6 points" in text)


class Desk:
    """A student's folder, which knows the exchange and nothing else of the course."""

    def __init__(self, folder: Path, exchange: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "nbgrader_config.py").write_text(
            f"c = get_config()\nc.Exchange.root = {str(exchange)!r}\nc.CourseDirectory.course_id = 'cs336lite'\n"
            f"c.Exchange.cache = {str(folder / 'cache')!r}\n"
        )

    def hand_in(self, double: str) -> None:
        path = self.folder / "a1_bpe" / "a1_bpe.ipynb"
        path.chmod(0o644)
        path.write_text(json.dumps(small_notebook(double, RIGHT[1])))
        nbgrader("submit", "a1_bpe", cwd=self.folder)

    def fetch(self) -> list[str]:
        """The scores on the pages that are there for this student, by the time they handed in."""
        shutil.rmtree(self.folder / "a1_bpe" / "feedback", ignore_errors=True)
        nbgrader("fetch_feedback", "a1_bpe", cwd=self.folder)
        return [score_on(page) for page in sorted((self.folder / "a1_bpe" / "feedback").glob("*/a1_bpe.html"))]


def test_a_student_fetches_feedback_after_each_grading(released, exchange, tmp_path):
    me = getpass.getuser()
    nbgrader("release_assignment", "a1_bpe", cwd=released)
    desk = Desk(tmp_path / "desk", exchange)
    nbgrader("fetch_assignment", "a1_bpe", cwd=desk.folder)
    desk.hand_in(WRONG)
    nbgrader("collect", "a1_bpe", cwd=released)
    submit(released, "dropped", small_notebook(*RIGHT))  # and never came through the exchange
    submit(released, "Zoe", small_notebook(*RIGHT))

    command("grade", "a1", cwd=released)
    for name in ("submission_secret.txt", "timestamp.txt"):
        handed_in, recorded = (released / step / me / "a1_bpe" / name for step in ("submitted", "autograded"))
        assert recorded.read_bytes() == handed_in.read_bytes()
    nbgrader("generate_feedback", "a1_bpe", cwd=released)
    said = nbgrader("release_feedback", "a1_bpe", cwd=released)
    assert "did not come through the exchange" in said and "`Zoe`, `dropped`" in said
    assert desk.fetch() == ["2"]

    # handed in again: the first page stays the page of the first submission
    desk.hand_in(RIGHT[0])
    nbgrader("collect", "a1_bpe", "--update", cwd=released)
    command("grade", "a1", cwd=released)
    assert not (released / "feedback" / me / "a1_bpe").exists()  # it was of the other submission
    said = command("feedback", "a1", cwd=released)
    assert said.startswith("pages: 3 made, 0 kept, 1 released") and "(2): `Zoe`, `dropped`" in said
    assert desk.fetch() == ["2", "6"]

    # a person's score, and nothing else that changed
    with Gradebook(f"sqlite:///{released / 'gradebook.db'}") as gradebook:
        gradebook.find_grade("grade_double", "a1_bpe", "a1_bpe", me).manual_score = 1
        gradebook.db.commit()
    assert command("feedback", "a1", cwd=released).startswith("pages: 1 made, 2 kept, 1 released")
    assert desk.fetch() == ["2", "3"]
    nbgrader("generate_feedback", "a1_bpe", cwd=released)  # nbgrader's own makes all of them
    nbgrader("release_feedback", "a1_bpe", cwd=released)
    assert desk.fetch() == ["2", "3"]


def test_formgraders_buttons_do_the_same(released):
    for student, secret in (("ada", None), ("bo", "a secret\r\n"), ("c (y)", "x"), ("di", "")):
        path = submit(released, student, small_notebook(*RIGHT))
        if secret is not None:
            path.with_name("submission_secret.txt").write_bytes(secret.encode())
    runner.grade_class(released, "a1_bpe")
    api = runner.nbgrader_api(released)
    assert api.generate_feedback("a1_bpe")["success"]
    result = api.release_feedback("a1_bpe")
    assert result["success"] and "`ada`, `di`" in result["log"]
    assert api.release_feedback("a1_bpe", "c (y)")["success"]
    assert api.release_feedback("a1_bpe", "ada")["success"]
    assert len(pages_in(released)) == 2


def pages_in(course):

    return sorted(Path(os.environ["CS336LITE_EXCHANGE"], "cs336lite", "feedback").glob("*"))


def test_pages_of_work_that_is_gone_go(released):
    for student in ("ada", "bo", "[cy]"):
        submit(released, student, small_notebook(*RIGHT)).with_name("submission_secret.txt").write_text(student)
    runner.grade_class(released, "a1_bpe")
    done = hand_back(released, "a1_bpe")
    assert done.made == ["[cy]", "ada", "bo"] and done.released == ["[cy]", "ada", "bo"]
    shutil.rmtree(released / "autograded" / "ada")
    with Gradebook(f"sqlite:///{released / 'gradebook.db'}") as gradebook:
        gradebook.remove_student("bo")
    done = hand_back(released, "a1_bpe")
    assert (done.made, done.kept, done.removed, done.released) == ([], ["[cy]"], ["ada", "bo"], ["[cy]"])
    assert not (released / "feedback" / "bo" / "a1_bpe").exists()


def test_some_students_and_no_release(released):
    for student in ("ada", "bo"):
        submit(released, student, small_notebook(*RIGHT)).with_name("submission_secret.txt").write_text(student)
    runner.grade_class(released, "a1_bpe")
    done = hand_back(released, "a1_bpe", students=["ada"])
    assert (done.made, done.released) == (["ada"], ["ada"])
    done = hand_back(released, "a1_bpe", release=False)
    assert (done.made, done.kept, done.released) == (["bo"], ["ada"], [])
    assert hand_back(released, "a1_bpe", students=["bo"], force=True).released == ["bo"]
    assert len(pages_in(released)) == 2
    with pytest.raises(CourseError, match="no graded work for a1_bpe of `cy`"):
        hand_back(released, "a1_bpe", students=["cy"])


def test_what_cannot_be_done_is_one_sentence(released, exchange):
    with pytest.raises(CourseError, match="nothing of a1_bpe is graded"):
        hand_back(released, "a1_bpe")
    submit(released, "ada", small_notebook(*RIGHT)).with_name("submission_secret.txt").write_text("x")
    submit(released, "bo", small_notebook(*RIGHT))
    runner.grade_class(released, "a1_bpe")
    path = released / "autograded" / "ada" / "a1_bpe" / "a1_bpe.ipynb"
    path.chmod(0o644)
    path.write_text("{")
    with pytest.raises(CourseError, match=r"(?s)pages: 1 made.*no feedback page could be made for:\n  ada: "):
        hand_back(released, "a1_bpe")
    exchange.rename(exchange.with_name("gone"))
    with pytest.raises(CourseError, match=r"(?s)but they could not be released: .*exchange"):
        hand_back(released, "a1_bpe", students=["bo"])
