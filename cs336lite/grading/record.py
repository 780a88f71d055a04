"""Put verdicts into nbgrader's gradebook and ``autograded/``: what ``nbgrader autograde`` does, for a class at once.

One process writes, one submission after another, in one session of the database. What is there already is left alone,
so that an interrupted run can be started again, and the scores and comments that a person gave are never touched.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.utils import compute_checksum, determine_grade, is_grade, is_solution

from cs336lite.course.paths import CourseError, write_atomic
from cs336lite.grading.feedback import add_head, write_verdict
from cs336lite.grading.submission import StructureCell, structure_of_gradebook
from cs336lite.grading.verdicts import Verdict
from cs336lite.teaching.late import LatePolicy, Standing, penalty_of, standing_of
from cs336lite.teaching.roster import Roster
from cs336lite.teaching.timestamps import SECRET, TIMESTAMP, Stamp, put_right, read_note, read_secret


@dataclass(frozen=True)
class Entry:
    """What is recorded of one submission: the graded notebook, when it was handed in, how to return feedback."""

    student: str
    notebook: str
    stamp: Stamp
    secret: bytes | None

    @classmethod
    def of(cls, folder: Path, notebook: NotebookNode) -> Entry:
        """The entry of the submission in a folder, with its graded notebook."""
        text = nbformat.writes(notebook) + "\n"
        return cls(folder.parent.name, text, put_right(folder), read_secret(folder))

    def notes(self) -> dict[str, bytes | None]:
        """The small files beside the graded notebook, byte for byte: nbgrader hashes what they hold."""
        return {TIMESTAMP: self.stamp.text, SECRET: self.secret}


def complete(notebook: NotebookNode, verdict: Verdict) -> None:
    """Make a normalised notebook the graded one: verdicts in its grade cells, a summary in front.

    The outputs of other cells are those that the student handed in, see `handed`.
    """
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = None
            if is_grade(cell) and not is_solution(cell):  # a cell that is both is graded by hand
                write_verdict(cell, verdict)
    add_head(notebook, verdict)


@contextmanager
def only_writer(course: Path) -> Iterator[None]:
    """Hold the course's one right to record. Raises CourseError while another process holds it."""
    path = course / ".secret" / "recording"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CourseError(f"another `cs336lite grade` is recording in {course}: wait until it has ended") from None
        yield


UNCHANGED = "unchanged"


class Recorder:
    """Records entries of one assignment in the gradebook of a course.

    Raises:
        CourseError: the gradebook does not know the assignment.
    """

    def __init__(self, course: Path, assignment: str, config: Any) -> None:
        self.course = course
        self.assignment = assignment
        self.gradebook = Gradebook(config.CourseDirectory.db_url, config.CourseDirectory.course_id)
        self.late = LatePolicy(course, config)
        try:
            self.structure: list[StructureCell] = structure_of_gradebook(self.gradebook, assignment, assignment)
        except MissingEntry:
            self.close()
            raise CourseError(
                f"the gradebook does not know {assignment}: release it first (`nbgrader generate_assignment {assignment}`)"
            ) from None
        self.roster = Roster(self.gradebook, config)
        self.written: set[str] = set()  # in this run
        self.changed: dict[str, tuple[float, float]] = {}
        """Students whose penalty another due date, extension or policy changed: before and after."""
        self.recorded = {
            submission.student_id: {grade.name: grade.auto_score for nb in submission.notebooks for grade in nb.grades}
            for submission in self.gradebook.assignment_submissions(assignment)
        }
        self.graded_before = {s for s, scores in self.recorded.items() if any(v is not None for v in scores.values())}

    def folder(self, student: str) -> Path:
        return self.course / "autograded" / student / self.assignment

    def is_current(self, entry: Entry) -> bool:
        """Whether this very entry has been recorded, wholly."""
        folder = self.folder(entry.student)
        try:
            same = (folder / f"{self.assignment}.ipynb").read_text(encoding="utf-8") == entry.notebook
        except (OSError, UnicodeDecodeError):
            return False
        same = same and all(read_note(folder / name) == text for name, text in entry.notes().items())
        return same and self.recorded.get(entry.student) == scores_of(entry.notebook)

    def record(self, entry: Entry) -> None:
        """Write an entry: first the gradebook, then the notebook, so that one cut off between is written again.

        Its penalty is left to `settle`. Raises what nbgrader raises.
        """
        try:
            self.write_scores(entry)
        except BaseException:
            self.gradebook.db.rollback()
            raise
        folder = self.folder(entry.student)
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path.name != f"{self.assignment}.ipynb":
                remove(path)  # of an earlier submission, or half written
        for name, text in entry.notes().items():
            if text is not None:
                write_atomic(folder / name, text, mode=0o444)
        write_atomic(folder / f"{self.assignment}.ipynb", entry.notebook, mode=0o444)
        self.forget_page(entry.student)
        self.written.add(entry.student)

    def forget_page(self, student: str) -> None:
        """Remove a feedback page that shows something else than is recorded; the next `generate_feedback` makes another."""
        page = self.course / "feedback" / student / self.assignment
        with suppress(OSError):
            if page.is_dir() and not page.parent.is_symlink():
                remove(page)

    def write_scores(self, entry: Entry) -> None:
        session = self.gradebook.db
        self.gradebook.update_or_create_student(entry.student)
        submission = self.gradebook.update_or_create_submission(self.assignment, entry.student)
        submission.timestamp = entry.stamp.when
        notebook = next(nb for nb in submission.notebooks if nb.name == self.assignment)
        scores = scores_of(entry.notebook)
        unanswered = unanswered_cells(entry.notebook)
        for grade in notebook.grades:
            grade.auto_score = scores.get(grade.name)
            grade.needs_manual_grade = grade.manual_score is not None or grade.auto_score is None
        for comment in notebook.comments:
            comment.auto_comment = "No response." if comment.name in unanswered else None
        session.commit()
        session.expunge_all()  # memory stays the same, however large the class

    def settle(self, student: str, when: datetime | str | None = UNCHANGED) -> Standing | None:
        """Compute a recorded student's penalties anew; what then is in the gradebook, None when that is nothing.

        ``when`` is when the work was handed in, where that is known. A penalty that changed, and not with the work, is in
        `changed`. Raises CourseError when the late policy fails: the penalties are then as they were.
        """
        session = self.gradebook.db
        try:
            submission = self.gradebook.find_submission(self.assignment, student)
            before, moved = penalty_of(submission), when is not UNCHANGED and submission.timestamp != when
            if moved:
                submission.timestamp = when
            changed = self.late.settle(submission)
            if changed or moved:
                session.commit()
                self.forget_page(student)
            if changed and student not in self.written:
                self.changed[student] = before, penalty_of(submission)
            return standing_of(submission)
        except MissingEntry:
            return None
        finally:
            session.rollback()
            session.expunge_all()

    def close(self) -> None:
        self.gradebook.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def scores_of(notebook: str) -> dict[str, float | None]:
    """The points in a graded notebook's grade cells, by name, as nbgrader reads them."""
    cells = nbformat.reads(notebook, as_version=4).cells
    return {c.metadata.nbgrader.grade_id: determine_grade(c)[0] for c in cells if is_grade(c)}


def unanswered_cells(notebook: str) -> set[str]:
    """The names of the solution cells that were handed in as they had been released."""
    cells = [c for c in nbformat.reads(notebook, as_version=4).cells if is_solution(c)]
    return {c.metadata.nbgrader.grade_id for c in cells if c.metadata.nbgrader.get("checksum") == compute_checksum(c)}


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            remove(inner)
        path.rmdir()
    else:
        path.unlink()
