"""Put verdicts into nbgrader's gradebook and ``autograded/``: what ``nbgrader autograde`` does, for a class at once.

One process writes, one submission after another, in one session of the database. What is there already is left alone,
so that an interrupted run can be started again, and the scores and comments that a person gave are never touched.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.utils import compute_checksum, determine_grade, is_grade, is_solution

from cs336lite.course.paths import CourseError
from cs336lite.grading import backups, sharing
from cs336lite.grading import gradebook as books
from cs336lite.grading.feedback_cells import add_head, write_verdict
from cs336lite.grading.late import LatePolicy, Standing, penalty_of, standing_of
from cs336lite.grading.roster import Roster
from cs336lite.grading.structure import StructureCell, structure_of_gradebook
from cs336lite.grading.timestamps import SECRET, TIMESTAMP, Stamp, put_right, read_note, read_secret
from cs336lite.grading.verdicts import Verdict


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


UNCHANGED = "unchanged"


class Recorder:
    """Records entries of one assignment in the gradebook of a course.

    Raises:
        CourseError: the gradebook does not know the assignment, is damaged, or is not the one that there was.
    """

    def __init__(self, course: Path, assignment: str, config: Any, rights: sharing.Rights = sharing.PRIVATE) -> None:
        self.course = course
        self.assignment = assignment
        self.rights = rights
        self.file = books.file_of(config.CourseDirectory.db_url)
        self.kept: Path | None = None  # a copy of the gradebook as it was before this changed it
        if self.file is not None:
            books.check(course, assignment, self.file)
        with books.told(self.file):
            self.open(config)
        books.check_grades(course, assignment, len(self.recorded))

    def open(self, config: Any) -> None:
        assignment = self.assignment
        self.gradebook = Gradebook(config.CourseDirectory.db_url, config.CourseDirectory.course_id)
        self.late = LatePolicy(self.course, config)
        try:
            self.structure: list[StructureCell] = structure_of_gradebook(
                self.gradebook, assignment, assignment, self.course
            )
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
        """Write an entry: its files beside their places, the gradebook, and the files to their places, the notebook last.

        So nothing is recorded of what cannot be written, and one cut off between is written again. The gradebook is copied
        before it is changed for the first time. Its penalty is left to `settle`. Raises what nbgrader raises; Stop for what
        the next entry would meet as well.
        """
        self.keep_a_copy()
        folder = self.folder(entry.student)
        files: dict[str, str | bytes] = {name: text for name, text in entry.notes().items() if text is not None}
        files[f"{self.assignment}.ipynb"] = entry.notebook
        with sharing.told(folder, stop=False):
            sharing.make_folder(folder, self.rights)
            with sharing.staged(folder, files, self.rights.graded):
                try:
                    with books.told(self.file):
                        self.write_scores(entry)
                except BaseException:
                    self.gradebook.db.rollback()
                    raise
        self.forget_page(entry.student)
        self.written.add(entry.student)

    def keep_a_copy(self) -> None:
        """Copy the gradebook as it is before this changes it for the first time."""
        if self.kept is None and self.file is not None:
            self.kept = backups.back_up(self.course, self.file, self.rights)

    def forget_page(self, student: str) -> None:
        """Remove a feedback page that shows something else than is recorded; the next `generate_feedback` makes another."""
        page = self.course / "feedback" / student / self.assignment
        with suppress(OSError):
            if page.is_dir() and not page.parent.is_symlink():
                sharing.remove(page)

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
                self.keep_a_copy()
                with books.told(self.file):
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


@lru_cache(maxsize=1)  # an entry is asked several times
def cells_of(notebook: str) -> list[NotebookNode]:
    return nbformat.reads(notebook, as_version=4).cells


def scores_of(notebook: str) -> dict[str, float | None]:
    """The points in a graded notebook's grade cells, by name, as nbgrader reads them."""
    return {c.metadata.nbgrader.grade_id: determine_grade(c)[0] for c in cells_of(notebook) if is_grade(c)}


def unanswered_cells(notebook: str) -> set[str]:
    """The names of the solution cells that were handed in as they had been released."""
    cells = [c for c in cells_of(notebook) if is_solution(c)]
    return {c.metadata.nbgrader.grade_id for c in cells if c.metadata.nbgrader.get("checksum") == compute_checksum(c)}
