"""What there is to judge: a file, or what a student of the class has handed in, read as an `Item` of the pools."""

from __future__ import annotations

import difflib
import shlex
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cs336lite.course.border import plain
from cs336lite.course.paths import CourseError
from cs336lite.grading.budget import WorkerFailure
from cs336lite.grading.find import Found, Opened
from cs336lite.grading.pools import Item
from cs336lite.grading.structure import StructureCell, normalise
from cs336lite.grading.submission import (
    Submission,
    SubmittedNotebook,
    is_script,
    link_above,
    read_notebook,
    read_submission,
    submission_of,
    submission_of_file,
)

if TYPE_CHECKING:
    from cs336lite.grading.mistaken import Assignments


def file_item(number: int, path: Path, assignment: str, structure: list[StructureCell], others: Assignments) -> Item:
    """A file to judge."""
    try:
        with Opened(path, assignment) as found:
            submission = read_submission(found.path, structure, lambda nb: others.remark(nb, assignment))
    except CourseError as error:
        return Item(number, Submission(), failure=WorkerFailure(str(error)))
    return Item(number, with_note(submission, found.note), found.note)


def item_of(
    folder: Path,
    assignment: str,
    structure: list[StructureCell],
    others: Assignments | None = None,
    anyway: bool = False,
) -> Item:
    """A student's submission to judge, and what is needed to record it: its folder, its clean notebook, and a note.

    A file of another name that cannot be read is a question to the instructor, and no zero; so is another assignment's
    work, where the ``others`` are given, unless it is to be graded ``anyway``.
    """
    student = folder.parent.name
    try:
        problem = link_above(folder / f"{assignment}.ipynb", folder.parents[1])
        with nullcontext(Found(folder)) if problem else Opened(folder, assignment) as found:
            notebook, problem = (SubmittedNotebook(), problem) if problem else read_notebook(found.path, parts=True)
        if problem and found.guessed:
            raise CourseError(f"{found.note}; but {problem}")
        remark = others.remark(notebook, assignment) if others is not None else ""
        if remark and not anyway:
            raise CourseError(
                f"{remark}: ask for the right file; "
                f"`cs336lite grade {assignment} --student {shlex.quote(student)} --anyway` grades it as it is"
            )
    except CourseError as error:
        return Item(student, Submission(), (folder, None, ""), failure=WorkerFailure(str(error)))
    clean, notes = normalise(notebook, structure)
    if problem:
        submission = Submission(problem=problem)
    elif is_script(found.path):
        submission = submission_of_file(notebook.cells[0].source, structure)
    else:
        submission = submission_of(clean, notes)
    submission = with_note(with_note(submission, found.note), remark)
    return Item(student, submission, (folder, clean, "; ".join(filter(None, (remark, found.note)))))


def with_note(submission: Submission, note: str) -> Submission:
    return replace(submission, notes=(note, *submission.notes)) if note else submission


def folders_of(course: Path, assignment: str, students: tuple[str, ...]) -> list[Path]:
    """The folders of the submissions to grade. Raises CourseError for a student who has handed in nothing."""
    folders = sorted(p for p in (course / "submitted").glob(f"*/{assignment}") if p.is_dir())
    there = {folder.parent.name for folder in folders}
    for student in students:
        if student not in there:
            near = difflib.get_close_matches(student, sorted(there), 3)
            raise CourseError(
                f"no submission of {assignment} by {plain(student)}: there is no folder submitted/{plain(student)}/{assignment}/"
                + (f"; did you mean {' or '.join(map(plain, near))}?" if near else "")
            )
    return [f for f in folders if f.parent.name in students] if students else folders
