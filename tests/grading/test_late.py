"""Due dates, extensions and late policies: computed anew in each run, as nbgrader's own command computes them."""

import sys
from datetime import datetime, timedelta

import pytest
from helpers import RIGHT, run, small_notebook, submit
from miniature import edit
from nbgrader.api import Gradebook

from cs336lite.course.paths import CourseError
from cs336lite.grading import runner

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")

POLICY = """
from helpers_of_the_policy import RATE
from nbgrader.plugins import BasePlugin

class Late(BasePlugin):
    def late_submission_penalty(self, student_id, score, total_seconds_late):
        return RATE * (total_seconds_late // 86400 + 1)
"""
DUE = datetime(2026, 1, 10, 12)


@pytest.fixture
def course(small_course):
    """Two right submissions, one of them a day and an hour late, and a policy that takes a point a day."""
    assert runner.nbgrader_api(small_course).generate_assignment("a1_bpe")["success"]
    for student, when in (("ada", "2026-01-10 11:00:00 UTC"), ("bo", "2026-01-11 13:00:00 UTC")):
        submit(small_course, student, small_notebook(*RIGHT)).with_name("timestamp.txt").write_text(when)
    (small_course / "late_policy.py").write_text(POLICY)
    (small_course / "helpers_of_the_policy.py").write_text("RATE = 1\n")
    with (small_course / "nbgrader_config.py").open("a") as config:
        config.write("\nget_config().AssignLatePenalties.plugin_class = 'late_policy.Late'\n")
    set_due(small_course, DUE)
    return small_course


def gradebook(course):
    return Gradebook(f"sqlite:///{course / 'gradebook.db'}")


def set_due(course, when):
    with gradebook(course) as book:
        book.update_or_create_assignment("a1_bpe", duedate=when)


def extend(course, student, days):
    with gradebook(course) as book:
        book.grant_extension("a1_bpe", student, days=days)


def grade(course, **how):
    """What is told, and each student's standing."""
    said = []
    graded = runner.grade_class(course, "a1_bpe", tell=said.append, **how)
    return {g.label: g.standing for g in graded}, "\n".join(said)


def penalties(course):
    with gradebook(course) as book:
        return {
            s.student_id: s.notebooks[0].late_submission_penalty or 0 for s in book.assignment_submissions("a1_bpe")
        }


def test_what_changes_a_penalty_counts_in_the_next_run(course):
    standings, said = grade(course)
    assert (standings["ada"].penalty, standings["bo"].penalty, said) == (0, 2, "")
    assert (standings["bo"].score, standings["bo"].max_score, standings["bo"].seconds_late) == (4, 6, 90_000)
    page = course / "feedback" / "bo" / "a1_bpe"
    page.mkdir(parents=True)
    (page / "a1_bpe.html").write_text("of before")

    extend(course, "bo", days=1)
    standings, said = grade(course)
    assert standings["bo"].penalty == 1 and standings["bo"].extension_seconds == 86_400
    assert said == "late penalties changed for 1: bo 2 -> 1"
    assert not page.exists()  # it showed another penalty

    set_due(course, DUE + timedelta(days=5))
    assert grade(course)[0]["bo"].penalty == 0
    set_due(course, None)  # the extension is left alone
    assert grade(course)[0]["bo"].penalty == 0
    set_due(course, DUE - timedelta(days=5))
    assert "2: ada 0 -> 5, bo 0 -> 6" in grade(course)[1]
    assert grade(course)[0]["bo"].score == 0  # no penalty is greater than the score
    assert grade(course)[1] == ""


def test_work_that_is_no_longer_there_is_settled_too(course):
    grade(course)
    (course / "submitted" / "bo" / "a1_bpe").rename(course / "elsewhere")
    extend(course, "bo", days=3)
    said = grade(course)[1]
    assert penalties(course) == {"ada": 0, "bo": 0}
    assert "changed for 1: bo 2 -> 0" in said and "no longer in submitted/" in said


def test_a_manual_score_and_another_time_count(course):
    grade(course)
    with gradebook(course) as book:
        book.find_grade("grade_double", "a1_bpe", "a1_bpe", "bo").manual_score = 1
        book.db.commit()
    set_due(course, DUE - timedelta(days=30))
    standing = grade(course)[0]["bo"]
    assert (standing.manual, standing.auto_score, standing.penalty, standing.score) == (True, 6, 3, 0)
    (course / "submitted" / "bo" / "a1_bpe" / "timestamp.txt").unlink()  # handed in again, another way
    standing = grade(course)[0]["bo"]
    assert (standing.penalty, standing.score, standing.seconds_late) == (0, 3, 0)


def test_the_stock_command_gives_the_same(course):
    (course / "submitted" / "bo" / "a1_bpe" / "timestamp.txt").write_text("11.01.2026 15:00 +02:00")
    grade(course)
    ours = penalties(course)
    assert ours == {"ada": 0, "bo": 2}
    with gradebook(course) as book:
        for submission in book.assignment_submissions("a1_bpe"):
            submission.notebooks[0].late_submission_penalty = 5
        book.db.commit()
    result = run("nbgrader", "autograde", "a1_bpe", "--force", cwd=course)
    assert result.returncode == 0, result.stderr
    assert penalties(course) == ours
    (course / "submitted" / "bo" / "a1_bpe" / "timestamp.txt").unlink()
    assert run("nbgrader", "autograde", "a1_bpe", "--force", cwd=course).returncode == 0
    assert penalties(course) == {"ada": 0, "bo": 0}


def test_a_policy_that_fails_is_one_sentence_and_changes_nothing(course):
    grade(course)
    edit(course / "late_policy.py", "return RATE", "return 1 / 0 * RATE")
    sys.modules.pop("late_policy", None)
    with pytest.raises(
        runner.NotAllGraded, match=r"bo: the late policy late_policy.Late failed: ZeroDivisionError.*line 7"
    ):
        grade(course)
    assert penalties(course) == {"ada": 0, "bo": 2}


@pytest.mark.parametrize(
    "policy, words",
    [
        ("import nothing_of_the_kind\n", r"ModuleNotFoundError.*late_policy.py, line 1"),
        ("class Late(\n", r"SyntaxError.*late_policy.py, line 1"),
        ("class Other: pass\n", "names a module and a class in it"),
        ("class Late: pass\n", "is no late policy"),
    ],
)
def test_a_policy_that_cannot_be_imported_is_one_sentence(course, policy, words):
    (course / "late_policy.py").write_text(policy)
    sys.modules.pop("late_policy", None)
    with pytest.raises(CourseError, match=words):
        grade(course)


def test_a_configuration_with_a_mistake_is_one_sentence(course):
    (course / "nbgrader_config.py").write_text("c = get_config()\nc.Autograde.create_student = maybe\n")
    with pytest.raises(CourseError, match=r"NameError: name 'maybe' is not defined \(nbgrader_config.py, line 2\)"):
        grade(course)


def test_a_time_that_cannot_be_read_is_told_in_each_run(course):
    (course / "submitted" / "bo" / "a1_bpe" / "timestamp.txt").write_text("01/02/2026 13:00")
    for _ in range(2):
        graded = {g.label: g for g in runner.grade_class(course, "a1_bpe")}
        assert "one day or another" in graded["bo"].note and graded["bo"].standing.penalty == 0
        assert graded["ada"].note == ""
