"""Feedback on its way to students: pages that are out of date are made anew, and released through the exchange.

`ReleaseFeedback` stands in for nbgrader's own (``c.ExchangeFactory.release_feedback``), so that the command, formgrader's
button and `hand_back` do the same: a page whose submission came another way than through the exchange has nowhere to go
there, and keeps no other page from going.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import GenerateFeedback
from nbgrader.exchange import ExchangeError
from nbgrader.exchange.default import ExchangeReleaseFeedback
from nbgrader.utils import capture_log, notebook_hash, temp_attrs
from traitlets.config import Config

from cs336lite.course.paths import CourseError, write_atomic
from cs336lite.grading import feedback
from cs336lite.grading.find import listed
from cs336lite.grading.timestamps import read_secret

MADE_FROM = ".made_from"  # beside a page: what it was made from, as a hash


class ReleaseFeedback(ExchangeReleaseFeedback):
    """nbgrader's release of feedback, page by page: those without a secret are named and passed over.

    After `start`, ``released`` and ``without`` are students.
    """

    def copy_files(self) -> None:
        self.released, self.without, failed = [], [], []
        left_out = set(filter(None, self.coursedir.student_id_exclude.split(",")))
        for page in pages_of(self.coursedir, self.coursedir.assignment_id):
            student = page.parent.parent.name
            if student in left_out:
                continue
            secret = read_secret(page.parent)
            if secret is None:
                self.without.append(student)
                continue
            checksum = notebook_hash(secret=secret.decode().replace("\r\n", "\n"), notebook_id=page.stem)
            target = Path(self.dest_path, f"{checksum}.html")
            beside = target.with_name(f"{checksum}-tmp.html")
            try:
                shutil.copy(page, beside)
                os.replace(beside, target)
            except OSError as error:
                with suppress(OSError):
                    beside.unlink()
                failed.append((student, error.strerror))
                continue
            self.released.append(student)
            self.log.info("Feedback of %s released to %s", student, target)
        if self.without:
            self.log.warning(
                "Not released, because the work did not come through the exchange (it has no submission_secret.txt): %s. "
                "Its pages are in %s",
                listed(self.without),
                self.coursedir.feedback_directory,
            )
        if failed:
            self.fail(f"not released: {listed(s for s, _ in failed)} ({failed[0][1]}: {self.dest_path})")


def pages_of(coursedir: Any, assignment: str) -> Iterator[Path]:
    """The pages that there are for an assignment, of the student whom nbgrader was asked for, or of all."""
    folder = Path(coursedir.format_path(coursedir.feedback_directory, "x", "x")).parents[1]
    wanted = coursedir.student_id or "*"
    for student in sorted(folder.iterdir()) if folder.is_dir() else ():
        if wanted == student.name or fnmatchcase(student.name, wanted):
            yield from sorted((student / assignment).glob("*.html"))


class MakePage(GenerateFeedback):
    """nbgrader's generate_feedback of one student, whatever letters the name has: nothing is looked for by a pattern."""

    def init_notebooks(self) -> None:
        folder = self._format_source(self.coursedir.assignment_id, self.coursedir.student_id)
        self.notebooks, self.assignments = [], {folder: [f"{folder}/{self.coursedir.assignment_id}.ipynb"]}


def make_page(api: Any, assignment: str, student: str) -> dict[str, Any]:
    """Make a page anew; what nbgrader's API gives: ``success``, and its log or error."""
    with temp_attrs(api.coursedir, assignment_id=assignment, student_id=student):
        app = MakePage(coursedir=api.coursedir, parent=api)
        app.update_config(Config({"HTMLExporter": {"template_name": "feedback"}}))
        app.force = True
        return capture_log(app)


# -- one command ------------------------------------------------------------------------------------------------


@dataclass
class HandedBack:
    """What became of each student's page."""

    made: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  # it says what the gradebook says
    removed: list[str] = field(default_factory=list)  # there is no graded work for it any more
    released: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)  # the work did not come through the exchange
    failed: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        said = [f"pages: {len(self.made)} made, {len(self.kept)} kept, {len(self.released)} released to the exchange"]
        if self.without:
            said.append(
                f"not in the exchange, because the work did not come through it ({len(self.without)}): "
                f"{listed(self.without)}; their pages are feedback/STUDENT/…/*.html"
            )
        if self.removed:
            said.append(f"removed, because there is no graded work for them any more: {listed(self.removed)}")
        return "\n".join(said)


def hand_back(
    course: Path,
    assignment: str,
    *,
    students: Iterable[str] = (),
    force: bool = False,
    release: bool = True,
    progress: Callable[[Iterable, int, str], Iterator] = lambda items, total, what: iter(items),
) -> HandedBack:
    """Make the pages that are missing or say something else than the gradebook (all, by ``force``), and release them.

    Raises CourseError when there is nothing graded, or not all could be made or released: the others were.
    """
    from cs336lite.grading.nbgrader_api import last_error, nbgrader_api

    api = nbgrader_api(course)
    done = HandedBack()
    graded = {
        path.parent.parent.name: path for path in (course / "autograded").glob(f"*/{assignment}/{assignment}.ipynb")
    }
    wanted = sorted(
        set(students) or set(graded) | {p.parent.name for p in (course / "feedback").glob(f"*/{assignment}")}
    )
    if unknown := [student for student in wanted if students and student not in graded]:
        raise CourseError(f"no graded work for {assignment} of {listed(unknown)}: grade it first")
    if not wanted:
        raise CourseError(f"nothing of {assignment} is graded: `cs336lite grade {assignment}`")
    with Gradebook(api.coursedir.db_url, api.coursedir.course_id) as gradebook:
        for student in progress(wanted, len(wanted), "feedback"):
            folder = course / "feedback" / student / assignment
            facts = facts_of(gradebook, assignment, student) if student in graded else None
            if facts is None:  # the work or the student is gone
                if folder.is_dir():
                    shutil.rmtree(folder, ignore_errors=True)
                    done.removed.append(student)
                continue
            made_from = hash_of(graded[student], facts)
            page, mark = folder / f"{assignment}.html", folder / MADE_FROM
            if not force and page.is_file() and mark.is_file() and mark.read_text(errors="replace") == made_from:
                done.kept.append(student)
                continue
            result = make_page(api, assignment, student)
            if not result["success"] or not page.is_file():
                done.failed.append((student, last_error(result)))
                continue
            write_atomic(mark, made_from)
            done.made.append(student)
    if release:
        release_pages(api, assignment, set(students), done)
    if done.failed:
        lines = "\n  ".join(f"{student}: {reason}" for student, reason in done.failed)
        raise CourseError(f"{done}\nno feedback page could be made for:\n  {lines}")
    return done


def release_pages(api: Any, assignment: str, students: set[str], done: HandedBack) -> None:
    coursedir = api.coursedir
    coursedir.assignment_id = assignment
    if students:
        others = {page.parent.parent.name for page in pages_of(coursedir, assignment)} - students
        coursedir.student_id_exclude = ",".join(sorted(others))
    app = api.exchange.ReleaseFeedback(coursedir=coursedir, authenticator=api.authenticator, parent=api)
    try:
        app.start()
    except (ExchangeError, OSError) as error:
        raise CourseError(f"{done}\nbut they could not be released: {error}") from None
    done.released, done.without = app.released, app.without


def facts_of(gradebook: Gradebook, assignment: str, student: str) -> list | None:
    """What a page shows of the gradebook; None when that knows nothing of the submission."""
    try:
        submission = gradebook.find_submission(assignment, student)
    except MissingEntry:
        return None
    person, duedate = submission.student, submission.assignment.duedate
    return [
        [person.first_name, person.last_name, str(submission.timestamp), str(duedate), str(submission.extension)],
        [[notebook.name, notebook.late_submission_penalty] for notebook in submission.notebooks],
        sorted([g.name, g.score, g.max_score] for notebook in submission.notebooks for g in notebook.grades),
        sorted([c.name, c.comment or ""] for notebook in submission.notebooks for c in notebook.comments),
    ]


def hash_of(graded: Path, facts: list) -> str:
    """A hash of all that a page is made from, the code that makes it among it."""
    found = hashlib.sha256(json.dumps(facts).encode())
    for path in (graded, *sorted(Path(feedback.__file__).parent.glob("feedback*"))):
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()
