"""A class and an assignment as they stand: the roster, the gradebook and the folders, read and never written."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cs336lite.course.border import plain
from cs336lite.course.paths import CourseError

GRADE = "grade_"  # begins the name of a grade cell: the rest is its exercise


@dataclass(frozen=True)
class Points:
    """The points of one exercise: what the hidden checks gave, and what a person gave instead or in addition."""

    auto: float | None
    manual: float | None
    extra: float
    max_score: float

    @property
    def score(self) -> float:
        return (self.auto or 0.0 if self.manual is None else self.manual) + self.extra

    @property
    def by_hand(self) -> float:
        """By how much a person changed what the checks gave."""
        return self.score - (self.auto or 0.0)


@dataclass(frozen=True)
class Row:
    """One student and one assignment. Points are the gradebook's; ``late`` is in seconds, beyond any extension."""

    student: str
    name: str = ""
    email: str = ""
    lms: str = ""
    known: bool = True  # whether the roster has the student
    handed_in: bool = False
    graded: bool = False
    exercises: dict[str, Points] = field(default_factory=dict)
    penalty: float = 0.0
    late: float = 0.0
    extension: float = 0.0  # seconds
    timestamp: str = ""
    needs_person: bool = False  # something is to be graded by hand

    @property
    def label(self) -> str:
        return f"{self.name} ({plain(self.student)})" if self.name else plain(self.student)

    @property
    def auto(self) -> float:
        return sum(p.auto or 0.0 for p in self.exercises.values())

    @property
    def by_hand(self) -> float:
        return sum(p.by_hand for p in self.exercises.values())

    @property
    def score(self) -> float:
        return sum(p.score for p in self.exercises.values())

    @property
    def total(self) -> float:
        """What counts in the end; as nbgrader counts, a penalty takes no more than there is."""
        return max(0.0, self.score - self.penalty)

    @property
    def max_score(self) -> float:
        return sum(p.max_score for p in self.exercises.values())


@dataclass(frozen=True)
class Classbook:
    """All that is known of an assignment: students on the roster, and those who handed in without being there."""

    assignment: str
    rows: tuple[Row, ...]
    max_score: float
    exercises: dict[str, float]  # the points of each, in the order of the notebook
    duedate: str = ""

    @property
    def graded(self) -> list[Row]:
        return [row for row in self.rows if row.graded]

    @property
    def missing(self) -> list[Row]:
        return [row for row in self.rows if not row.handed_in]

    @property
    def ungraded(self) -> list[Row]:
        return [row for row in self.rows if row.handed_in and not row.graded]

    @property
    def late(self) -> list[Row]:
        return sorted((row for row in self.rows if row.graded and row.late), key=lambda row: -row.late)

    @property
    def names(self) -> dict[str, str]:
        return {row.student: row.label for row in self.rows}

    def row(self, student: str) -> Row | None:
        return next((row for row in self.rows if row.student == student), None)

    def statistics(self) -> dict[str, float]:
        """Mean, median, spread (standard deviation), least and most of what counts; empty when nothing is graded."""
        totals = [row.total for row in self.graded]
        if not totals:
            return {}
        spread = statistics.pstdev(totals)
        return {
            "mean": statistics.fmean(totals),
            "median": statistics.median(totals),
            "spread": spread,
            "least": min(totals),
            "most": max(totals),
        }

    def histogram(self, bins: int = 10) -> list[int]:
        """How many totals lie in each of so many equal parts of the points that there are."""
        counts = [0] * bins
        for row in self.graded:
            share = row.total / self.max_score if self.max_score else 0.0
            counts[min(bins - 1, max(0, int(share * bins + 1e-9)))] += 1
        return counts


@contextmanager
def open_gradebook(course: Path) -> Iterator[Any]:
    """nbgrader's gradebook of a course, to be read. Raises CourseError where there is none, or none that can be read."""
    from nbgrader.api import Gradebook

    from cs336lite.grading import gradebook as books
    from cs336lite.grading.nbgrader_api import course_config

    config = course_config(course)
    url = config.CourseDirectory.db_url
    file = books.file_of(url)
    if file is not None and not file.is_file():  # nbgrader would make an empty one
        lost = books.work_done(course)
        made = f"it is missing, although {lost}. {books.how_to_go_back(course)}" if lost else MADE
        raise CourseError(f"there is no gradebook {file}: {made}")
    with books.told(file):
        gradebook = Gradebook(url, config.CourseDirectory.course_id or "default_course")
        try:
            yield gradebook
        finally:
            gradebook.close()


MADE = "`nbgrader generate_assignment` makes it"


def read_class(course: Path, assignment: str) -> Classbook:
    """The class as the gradebook and the folders have it now.

    Raises:
        CourseError: there is no gradebook, it cannot be read, or it does not know the assignment.
    """
    from nbgrader import api

    folders = {path.parent.name for path in (course / "submitted").glob(f"*/{assignment}") if path.is_dir()}
    with open_gradebook(course) as gradebook:
        try:
            about = gradebook.find_assignment(assignment)
        except api.MissingEntry:
            raise CourseError(
                f"the gradebook does not know {assignment}: release it first (`nbgrader generate_assignment {assignment}`)"
            ) from None
        query, cells = gradebook.db.query, {}
        for notebook in about.notebooks:
            cells |= {cell.id: cell for cell in (*notebook.grade_cells, *notebook.task_cells)}
        order = [cell.id for cell in cells.values()]
        order.sort(key=position_of(about))
        exercises = {exercise_of(cells[id_].name): float(cells[id_].max_score or 0) for id_ in order}
        students = {s.id: s for s in query(api.Student).all()}
        submissions = {s.student_id: s for s in query(api.SubmittedAssignment).filter_by(assignment_id=about.id).all()}
        notebooks: dict[str, list[Any]] = {}
        for nb in query(api.SubmittedNotebook).filter(
            api.SubmittedNotebook.assignment_id.in_([s.id for s in submissions.values()])
        ):
            notebooks.setdefault(nb.assignment_id, []).append(nb)
        by_id = {nb.id: nb.assignment_id for some in notebooks.values() for nb in some}
        grades: dict[str, list[Any]] = {}
        columns = (api.Grade.notebook_id, api.Grade.cell_id, api.Grade.auto_score, api.Grade.manual_score)
        for grade in query(*columns, api.Grade.extra_credit, api.Grade.needs_manual_grade):
            if grade.notebook_id in by_id and grade.cell_id in cells:
                grades.setdefault(by_id[grade.notebook_id], []).append(grade)
        rows = []
        for student in sorted({*students, *folders}):
            about_student, submission = students.get(student), submissions.get(student)
            there = (course / "autograded" / student / assignment / f"{assignment}.ipynb").is_file()
            found = grades.get(submission.id, []) if submission is not None else []
            graded = there and submission is not None
            points = {
                exercise_of(cells[g.cell_id].name): Points(
                    g.auto_score, g.manual_score, g.extra_credit or 0.0, float(cells[g.cell_id].max_score or 0)
                )
                for g in sorted(found, key=lambda g: order.index(g.cell_id))
            }
            rows.append(
                Row(
                    student,
                    name_of(about_student),
                    plain(getattr(about_student, "email", None) or ""),
                    plain(getattr(about_student, "lms_user_id", None) or ""),
                    about_student is not None,
                    student in folders or there,
                    graded,
                    points if graded else {},
                    sum(nb.late_submission_penalty or 0.0 for nb in notebooks.get(submission.id, [])) if graded else 0,
                    submission.total_seconds_late if submission is not None else 0.0,
                    submission.extension.total_seconds() if submission is not None and submission.extension else 0.0,
                    submission.timestamp.isoformat(" ", "seconds") if graded and submission.timestamp else "",
                    graded and any(g.needs_manual_grade for g in found),
                )
            )
        duedate = about.duedate.isoformat(" ", "minutes") if about.duedate else ""
    return Classbook(assignment, tuple(rows), sum(exercises.values()), exercises, duedate)


def names_of(course: Path) -> dict[str, str]:
    """How to call the students of the roster; empty where there is no gradebook that can be read."""
    try:
        with open_gradebook(course) as gradebook:
            return {s.id: f"{name_of(s)} ({plain(s.id)})" for s in gradebook.students if name_of(s)}
    except CourseError:
        return {}


def position_of(about: Any) -> Any:
    """A key that sorts cells as the notebooks have them."""
    places = {
        cell.name: (number, place)
        for number, nb in enumerate(about.notebooks)
        for place, cell in enumerate(nb.source_cells)
    }
    names = {cell.id: cell.name for nb in about.notebooks for cell in (*nb.grade_cells, *nb.task_cells)}
    return lambda id_: places.get(names[id_], (0, 0))


def exercise_of(cell: str) -> str:
    return plain(cell.removeprefix(GRADE), 60)


def name_of(student: Any) -> str:
    """First and last name, as the roster has them; empty where it has none."""
    parts = (getattr(student, "first_name", None), getattr(student, "last_name", None))
    return plain(" ".join(part for part in parts if part), 60)


# -- how it is said -------------------------------------------------------------------------------------------------


def number(value: float | None) -> str:
    """Points with at most two decimals; nothing for None."""
    return "" if value is None else f"{round(value, 2) + 0.0:g}"


def duration(seconds: float) -> str:
    """A time as a person says it: ``3 d 4 h``, ``5 h 12 min``, ``40 s``."""
    days, rest = divmod(int(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    minutes = rest // 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"


def count(amount: int, one: str, many: str = "") -> str:
    return f"{amount} {one if amount == 1 else many or one + 's'}"
