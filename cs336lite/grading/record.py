"""Put verdicts into nbgrader's gradebook and ``autograded/``: what ``nbgrader autograde`` does, for a class at once.

One process writes, one submission after another, in one session of the database. What is there already is left alone,
so that an interrupted run can be started again, and the scores and comments that a person gave are never touched.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.preprocessors import AssignLatePenalties
from nbgrader.utils import compute_checksum, determine_grade, is_grade, is_solution, parse_utc

from cs336lite.course.paths import CourseError
from cs336lite.grading.feedback import add_head, write_verdict
from cs336lite.grading.submission import StructureCell, structure_of_gradebook
from cs336lite.grading.verdicts import Verdict
from cs336lite.teaching import backups, sharing
from cs336lite.teaching import gradebook as books

TIMESTAMP, SECRET = "timestamp.txt", "submission_secret.txt"  # beside a submission that came through the exchange


@dataclass(frozen=True)
class Entry:
    """What is recorded of one submission: the graded notebook, when it was handed in (UTC), how to return feedback."""

    student: str
    notebook: str
    timestamp: str | None
    secret: str | None

    @classmethod
    def of(cls, folder: Path, notebook: NotebookNode) -> Entry:
        """The entry of the submission in a folder, with its graded notebook."""
        text = nbformat.writes(notebook) + "\n"
        return cls(folder.parent.name, text, read_timestamp(folder), read_note(folder / SECRET))

    def notes(self) -> dict[str, str | None]:
        return {TIMESTAMP: self.timestamp, SECRET: self.secret}


def complete(notebook: NotebookNode, verdict: Verdict) -> None:
    """Make a normalised notebook the graded one: verdicts in its grade cells, a summary in front."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if is_grade(cell):
                write_verdict(cell, verdict)
    add_head(notebook, verdict)


def read_note(path: Path) -> str | None:
    """The text of one of the small files that nbgrader lays beside a submission; None when there is no such file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return os.read(handle, 1000).decode().strip() or None
        return None
    except (OSError, ValueError):
        return None
    finally:
        os.close(handle)


def read_timestamp(folder: Path) -> str | None:
    """When a submission was handed in (UTC), as nbgrader's ``timestamp.txt`` says it; None when it does not say."""
    text = read_note(folder / TIMESTAMP)
    try:
        return None if text is None else str(parse_utc(text))
    except (ValueError, OverflowError):
        return None


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
        self.late = AssignLatePenalties(config=config)
        self.late.init_plugin()
        try:
            self.structure: list[StructureCell] = structure_of_gradebook(self.gradebook, assignment, assignment)
        except MissingEntry:
            self.close()
            raise CourseError(
                f"the gradebook does not know {assignment}: release it first (`nbgrader generate_assignment {assignment}`)"
            ) from None
        self.recorded = {
            submission.student_id: {grade.name: grade.auto_score for nb in submission.notebooks for grade in nb.grades}
            for submission in self.gradebook.assignment_submissions(assignment)
        }

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
        before it is changed for the first time. Raises what nbgrader raises; Stop for what the next entry would meet as well.
        """
        if self.kept is None and self.file is not None:
            self.kept = backups.back_up(self.course, self.file, self.rights)
        folder = self.folder(entry.student)
        files = {name: f"{text}\n" for name, text in entry.notes().items() if text is not None}
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

    def write_scores(self, entry: Entry) -> None:
        session = self.gradebook.db
        self.gradebook.update_or_create_student(entry.student)
        when = {} if entry.timestamp is None else {"timestamp": entry.timestamp}
        submission = self.gradebook.update_or_create_submission(self.assignment, entry.student, **when)
        notebook = next(nb for nb in submission.notebooks if nb.name == self.assignment)
        scores = scores_of(entry.notebook)
        unanswered = unanswered_cells(entry.notebook)
        for grade in notebook.grades:
            grade.auto_score = scores.get(grade.name)
            grade.needs_manual_grade = grade.manual_score is not None or grade.auto_score is None
        for comment in notebook.comments:
            comment.auto_comment = "No response." if comment.name in unanswered else None
        session.flush()
        session.refresh(notebook)
        notebook.late_submission_penalty = None
        late = submission.total_seconds_late
        if late > 0:
            penalty = self.late.plugin_inst.late_submission_penalty(entry.student, notebook.score, late)
            if penalty is not None:
                notebook.late_submission_penalty = self.late._check_late_penalty(notebook, penalty)
        session.commit()
        session.expunge_all()  # memory stays the same, however large the class

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
