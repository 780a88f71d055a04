"""A semester: two assignments, sixteen students, an exchange and dropped files, late days, regrades, manual grades.

What a person would write down stands in `Book`; after each step the gradebook, the pages and what students fetch must say
the same.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from helpers import RIGHT, ROOT, SMALL_SPEC, run, small_notebook
from nbgrader.api import Gradebook
from nbgrader.auth import Authenticator
from nbgrader.coursedir import CourseDirectory
from nbgrader.exchange.default import ExchangeFetchFeedback, ExchangeSubmit
from traitlets.config import Config

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")

A1, A2 = "a1_bpe", "a2_attention"
DUE = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

DOUBLE = {  # source, and points of 3 for numbers and 1 for strings
    "right": (RIGHT[0], 4),
    "squared": ("def double(x):\n    return x * x", 0),
    "numbers only": ("def double(x):\n    return 2 * int(x)", 3),
    "unsolved": ("def double(x):\n    raise NotImplementedError", 0),
}
HALVE = {  # source, and whether it is right; floats are right once the check is mended
    "right": (RIGHT[1], True),
    "floats": ("def halve(x):\n    return x / 2", None),
    "wrong": ("def halve(x):\n    return x - 1", False),
}
STRICT = SMALL_SPEC.replace(
    "expect(student.run(halve, 2 * n) == n,", "expect(repr(student.run(halve, 2 * n)) == repr(n),"
)
TYPO = STRICT.replace('expect(student.run(call, "ab") == "abab"', 'expect(student.run(call, "ab") == abab')
LATE = """
from nbgrader.plugins import BasePlugin

class Late(BasePlugin):
    '''A point for each day begun, at most three.'''

    def late_submission_penalty(self, student_id, score, total_seconds_late):
        return min(3, -(-total_seconds_late // 86400))
"""


@dataclass
class Work:
    """What a student handed in for an assignment, and when."""

    double: str
    halve: str
    when: datetime


@dataclass
class Book:
    """What a person would note: points of each student in each assignment."""

    work: dict[tuple[str, str], Work] = field(default_factory=dict)
    halves: dict[str, float] = field(default_factory=lambda: {A1: 2.0, A2: 2.0})  # points of the exercise
    floats: dict[str, bool] = field(default_factory=lambda: {A1: False, A2: True})  # whether x / 2 counts
    extension: dict[tuple[str, str], timedelta] = field(default_factory=dict)
    manual: dict[tuple[str, str], float] = field(default_factory=dict)  # given for exercise double
    policy: bool = False

    def points(self, student: str, assignment: str) -> float:
        """Before a penalty."""
        work = self.work[student, assignment]
        double = self.manual.get((student, assignment), DOUBLE[work.double][1])
        right = HALVE[work.halve][1]
        return double + self.halves[assignment] * (self.floats[assignment] if right is None else right)

    def penalty(self, student: str, assignment: str) -> float:
        late = self.work[student, assignment].when - DUE - self.extension.get((student, assignment), timedelta())
        days = -(-late // timedelta(days=1))
        return float(min(3, days, self.points(student, assignment))) if self.policy and days > 0 else 0.0

    def total(self, assignment: str) -> dict[str, float]:
        students = [student for student, name in self.work if name == assignment]
        return {s: self.points(s, assignment) - self.penalty(s, assignment) for s in students}


class Semester:
    """A course folder, an exchange beside it, and the desks of the students."""

    def __init__(self, home: Path) -> None:
        self.course, self.exchange, self.desks = home / "course" / "assignments", home / "exchange", home / "desks"
        self.book = Book()
        self.by_exchange: set[str] = set()
        self.exchange.mkdir(parents=True)
        self.exchange.chmod(0o777)
        (self.course.parent / "cs336lite").mkdir(parents=True)
        self.course.mkdir()
        config = (ROOT / "assignments" / "nbgrader_config.py").read_text()
        late = "\nget_config().AssignLatePenalties.plugin_class = 'late_policy.Late'\n"
        (self.course / "nbgrader_config.py").write_text(config + late)
        (self.course / "late_policy.py").write_text("from nbgrader.plugins import LateSubmissionPlugin as Late\n")
        for name in (A1, A2):
            self.write_source(name, 2)
            for folder in ("hidden", "public"):
                (self.course / folder).mkdir(exist_ok=True)
                (self.course / folder / f"{name}.py").write_text(STRICT if name == A1 else SMALL_SPEC)

    def write_source(self, name: str, halves: float) -> None:
        marked = [
            answer.replace("return", "### BEGIN SOLUTION\n    return") + "\n    ### END SOLUTION" for answer in RIGHT
        ]
        source = self.course / "source" / name / f"{name}.ipynb"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(text_of(name, *marked, halves=halves))

    # what the instructor does

    def says(self, *command: str, status: int = 0) -> str:
        done = run(*command, cwd=self.course, CS336LITE_EXCHANGE=str(self.exchange))
        said = done.stdout + done.stderr
        assert done.returncode == status, said[-4000:]
        assert "Traceback" not in said, said[-4000:]
        return said

    def grade(self, name: str, *options: str, status: int = 0) -> str:
        return self.says("cs336lite", "grade", name, *options, status=status)

    def gradebook(self) -> Gradebook:
        return Gradebook(f"sqlite:///{self.course / 'gradebook.db'}")

    def scores(self, name: str) -> dict[str, float]:
        """As the gradebook has them, less penalties."""
        with self.gradebook() as book:
            return {s.student_id: s.score - s.late_submission_penalty for s in book.assignment_submissions(name)}

    # what a student does

    def settings(self, student: str, name: str, when: datetime | None = None) -> dict:
        config = Config()
        config.Exchange.root = str(self.exchange)
        config.Exchange.cache = str(self.desks / student / "cache")
        config.Exchange.assignment_dir = str(self.desks / student)
        config.CourseDirectory.course_id = "cs336lite"
        config.CourseDirectory.student_id = student
        config.CourseDirectory.assignment_id = name
        coursedir = CourseDirectory(config=config)
        return {"coursedir": coursedir, "authenticator": Authenticator(config=config), "config": config}

    def hand_in(self, student: str, name: str, double: str, halve: str, when: datetime) -> None:
        text = text_of(name, DOUBLE[double][0], HALVE[halve][0], halves=self.book.halves[name])
        if student in self.by_exchange:
            path = self.desks / student / name / f"{name}.ipynb"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

            class Then(ExchangeSubmit):
                def set_timestamp(self) -> None:
                    self.timestamp = when.strftime(self.timestamp_format)

            Then(**self.settings(student, name)).start()
        else:
            folder = self.course / "submitted" / student / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.ipynb").write_text(text)
            (folder / "timestamp.txt").write_text(f"{when:%Y-%m-%d %H:%M:%S} UTC\n")
        self.book.work[student, name] = Work(double, halve, when)

    def fetched(self, student: str, name: str) -> str:
        """The page of a student's latest submission, as fetched through the exchange."""
        ExchangeFetchFeedback(**self.settings(student, name)).start()
        pages = (self.desks / student / name / "feedback").glob(f"*/{name}.html")
        return max(pages, key=lambda page: page.parent.name).read_text()

    def check(self, name: str) -> None:
        """Gradebook and pages are as the book has them; students who use the exchange fetch theirs."""
        expected = self.book.total(name)
        assert self.scores(name) == expected
        self.says("cs336lite", "feedback", name)
        for student in expected:
            handed_in = self.course / "feedback" / student / name / f"{name}.html"
            assert points_on(handed_in.read_text()) == expected[student], student
        for student in sorted(self.by_exchange & set(expected)):
            assert points_on(self.fetched(student, name)) == expected[student], student


def text_of(name: str, double: str, halve: str, *, halves: float) -> str:
    content = small_notebook(double, halve)
    text = json.dumps(content).replace(A1, name)
    return re.sub(r'("grade_id": "grade_halve", "points": )\d+', rf"\g<1>{halves:g}", text)


def changed(said: str) -> set[str]:
    """The students of whom a run says that their grade changed."""
    return set(re.findall(r"\((s\d\d)\): \S+ → ", said))


def points_on(page: str) -> float:
    return float(re.search(r"([\d.]+) of [\d.]+ points", page)[1])


STUDENTS = [f"s{number:02}" for number in range(1, 17)]


def before_the_term(semester):
    """Two assignments are released, and the roster and the due dates are entered."""
    roster = semester.course / "roster.csv"
    lines = [f"{student},Student {student[1:]},Ada,{student}@example.edu" for student in STUDENTS]
    roster.write_text("\n".join(["id,last_name,first_name,email", *lines]) + "\n")
    semester.says("nbgrader", "db", "student", "import", "roster.csv")
    for name in (A1, A2):
        semester.says("nbgrader", "db", "assignment", "add", name, f"--duedate={DUE:%Y-%m-%d %H:%M:%S} UTC")
        semester.says("nbgrader", "generate_assignment", name)
        semester.says("nbgrader", "release_assignment", name)


def a_check_that_its_own_author_got_wrong_grades_nobody(semester):
    """Half hand in through the exchange, half drop files; the hidden checks hold a typo."""
    semester.by_exchange.update(STUDENTS[:8])
    doubles, halves = list(DOUBLE), list(HALVE)
    for number, student in enumerate(STUDENTS[:14]):  # two never hand in
        when = DUE + timedelta(hours=30 * (number % 5) - 20)  # of five, one in time, four late by 10 hours to 100
        semester.hand_in(student, A1, doubles[number % 4], halves[number % 3], when)
    semester.says("nbgrader", "collect", A1)
    hidden = semester.course / "hidden" / f"{A1}.py"
    hidden.write_text(TYPO)
    said = semester.grade(A1, status=2)
    assert "double.string" in said and "NameError" in said
    assert semester.scores(A1) == {}
    hidden.write_text(STRICT)


def the_first_grading(semester):
    said = semester.grade(A1)
    semester.check(A1)
    for student in STUDENTS[14:]:
        assert student in said  # handed in nothing
    assert "14" in said


def a_late_policy_and_an_extension_count_at_the_next_run(semester):
    (semester.course / "late_policy.py").write_text(LATE)
    semester.book.policy = True
    with semester.gradebook() as book:
        book.grant_extension(A1, "s02", days=3)
    semester.book.extension["s02", A1] = timedelta(days=3)
    semester.grade(A1)
    semester.check(A1)
    with semester.gradebook() as book:
        book.update_or_create_assignment(A1, duedate=str(DUE + 24 * HOUR))  # everybody gets a day more
    for student in STUDENTS:
        semester.book.extension[student, A1] = semester.book.extension.get((student, A1), timedelta()) + 24 * HOUR
    semester.grade(A1)
    semester.check(A1)


def what_is_handed_in_again_is_judged_again(semester):
    """One through the exchange, one dropped; all others keep their page and their grade."""
    for student in ("s03", "s12"):
        semester.hand_in(student, A1, "right", "right", DUE + 50 * HOUR)
    semester.says("nbgrader", "collect", A1, "--update")
    said = semester.grade(A1)
    semester.check(A1)
    assert changed(said) == {"s03", "s12"} and said.count("new submission") == 2


def a_manual_grade_stays(semester):
    with semester.gradebook() as book:
        grade = book.find_grade("grade_double", A1, A1, "s05")
        grade.manual_score = 3.5
        book.db.commit()
    semester.book.manual["s05", A1] = 3.5
    semester.grade(A1, "--force")
    semester.check(A1)


def a_check_that_was_too_strict_is_mended(semester):
    """Who halved with / gets points back, and the run says whose grade changed."""
    (semester.course / "hidden" / f"{A1}.py").write_text(SMALL_SPEC)
    before = semester.book.total(A1)
    semester.book.floats[A1] = True
    said = semester.grade(A1, "--verbose")
    semester.check(A1)
    after = semester.book.total(A1)
    assert changed(said) == {student for student in after if after[student] != before[student]} != set()
    assert "changed checks: halve.half" in said


def an_exercise_is_worth_more(semester):
    hidden = semester.course / "hidden" / f"{A1}.py"
    hidden.write_text(hidden.read_text().replace('"halve", points=2', '"halve", points=3'))
    semester.says("cs336lite", "grade", A1, status=2)  # text and checks disagree
    semester.write_source(A1, 3)
    semester.says("nbgrader", "generate_assignment", A1, "--force")
    semester.book.halves[A1] = 3.0
    semester.grade(A1)
    semester.check(A1)


def who_left_the_course_is_not_back(semester):
    semester.says("nbgrader", "db", "student", "remove", "s07", "--force")
    del semester.book.work["s07", A1]
    said = semester.grade(A1, status=2)
    assert "s07" in said
    shutil.move(semester.course / "submitted" / "s07", semester.course.parent / "left")
    semester.grade(A1)
    semester.check(A1)


def the_second_assignment_leaves_the_first(semester):
    before = semester.scores(A1)
    for number, student in enumerate(s for s in STUDENTS if s != "s07"):
        semester.hand_in(student, A2, list(DOUBLE)[number % 4], list(HALVE)[number % 3], DUE - HOUR)
    semester.says("nbgrader", "collect", A2)
    semester.grade(A2, "--jobs", "2")
    semester.check(A2)
    assert semester.scores(A1) == before


def test_a_semester(tmp_path):
    """Each part goes on where the one before it stopped, so they are one test: parts of it could not run alone."""
    semester = Semester(tmp_path)
    for part in (
        before_the_term,
        a_check_that_its_own_author_got_wrong_grades_nobody,
        the_first_grading,
        a_late_policy_and_an_extension_count_at_the_next_run,
        what_is_handed_in_again_is_judged_again,
        a_manual_grade_stays,
        a_check_that_was_too_strict_is_mended,
        an_exercise_is_worth_more,
        who_left_the_course_is_not_back,
        the_second_assignment_leaves_the_first,
    ):
        part(semester)
