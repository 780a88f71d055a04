"""Grade a class or single files: judge in parallel, then (for a class) record through nbgrader in one process."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from cs336lite.course.paths import CourseError
from cs336lite.grading.submission import Submission, read_submission, structure_of_gradebook, structure_of_source
from cs336lite.grading.verdicts import Judge, Verdict, course_seed, hidden_spec


@dataclass(frozen=True)
class Graded:
    """One graded submission: ``label`` is a student's name or a file, as the caller gave it."""

    label: str
    verdict: Verdict


Progress = Callable[[Iterable, int, str], Iterator]


def no_progress(items: Iterable, total: int, what: str) -> Iterator:
    yield from items


def grade_files(
    course: Path, assignment: str, files: list[Path], *, jobs: int = 1, progress: Progress = no_progress
) -> list[Graded]:
    """Verdicts on single ``.ipynb`` or ``.py`` files, in the order given; no gradebook is touched.

    Raises CourseError for a file that does not exist or has another ending: that is the caller's mistake, whereas
    a file that cannot be judged is the submission's, and scores zero.
    """
    for path in files:
        if not path.is_file():
            raise CourseError(f"no such file: {path}")
        if path.suffix not in (".ipynb", ".py"):
            raise CourseError(f"{path}: a submission is a notebook (.ipynb) or a plain Python file (.py)")
    source = course / "source" / assignment / f"{assignment}.ipynb"
    structure = structure_of_source(source) if source.exists() else []
    submissions = [read_submission(path, structure) for path in files]
    verdicts = judge_all(course, assignment, submissions, jobs, progress)
    return [Graded(str(path), verdict) for path, verdict in zip(files, verdicts)]


def grade_class(course: Path, assignment: str, *, jobs: int = 1, progress: Progress = no_progress) -> list[Graded]:
    """Judge every submission in ``submitted/`` and record it in the gradebook and ``autograded/``.

    Verdicts are files, so an interrupted run goes on where it stopped. Recording is serial: SQLite has one writer.
    """
    from nbgrader.api import Gradebook, MissingEntry

    folders = sorted(p.parent for p in (course / "submitted").glob(f"*/{assignment}/") if p.is_dir())
    if not folders:
        raise CourseError(
            f"no submissions of {assignment} in {course / 'submitted'}: collect them first (`nbgrader collect {assignment}`)"
        )
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        try:
            structure = structure_of_gradebook(gradebook, assignment, assignment)
        except MissingEntry:
            raise CourseError(
                f"the gradebook does not know {assignment}: release it first (`nbgrader generate_assignment {assignment}`)"
            ) from None
    students = [folder.name for folder in folders]
    submissions = []
    for folder in folders:
        path = folder / assignment / f"{assignment}.ipynb"
        submissions.append(read_submission(path, structure))
    verdicts = judge_all(course, assignment, submissions, jobs, progress)
    record(course, assignment, students, progress)
    return [Graded(student, verdict) for student, verdict in zip(students, verdicts)]


# -- judging ----------------------------------------------------------------------------------------------------

_judge: Judge | None = None  # one per process of the pool, with its own worker


def _start(course: Path, assignment: str) -> None:
    global _judge
    _judge = Judge(course, assignment)
    Finalize(None, _judge.close, exitpriority=10)  # atexit does not run in a pool's processes


def _judge_one(submission: Submission) -> Verdict:
    return _judge.judge(submission)


def judge_all(
    course: Path, assignment: str, submissions: list[Submission], jobs: int, progress: Progress = no_progress
) -> list[Verdict]:
    """One verdict per submission, in order, from ``jobs`` processes."""
    hidden_spec(course, assignment)  # a missing spec is told here, once
    course_seed(course)
    if jobs <= 1 or len(submissions) <= 1:
        with Judge(course, assignment) as judge:
            return [judge.judge(s) for s in progress(submissions, len(submissions), "judging")]
    verdicts: list[Verdict | None] = [None] * len(submissions)
    with ProcessPoolExecutor(min(jobs, len(submissions)), initializer=_start, initargs=(course, assignment)) as pool:
        futures = {pool.submit(_judge_one, s): i for i, s in enumerate(submissions)}
        for future in progress(as_completed(futures), len(futures), "judging"):
            verdicts[futures[future]] = future.result()
    return verdicts


# -- recording --------------------------------------------------------------------------------------------------


def record(course: Path, assignment: str, students: list[str], progress: Progress = no_progress) -> None:
    """Run nbgrader's autograde for each student, in this process; verdicts come from their files.

    Raises CourseError when nbgrader could not record some of them, after all others are recorded.
    """
    api = nbgrader_api(course)
    failed = []
    for student in progress(students, len(students), "recording"):
        result = api.autograde(assignment, student, force=True)
        if not result["success"]:
            failed.append(f"{student}: {last_error(result)}")
    if failed:
        raise CourseError("nbgrader could not record\n  " + "\n  ".join(failed))


def nbgrader_api(course: Path) -> Any:
    """nbgrader's own API, configured as its command line is when started in the course folder."""
    from nbgrader.apps import NbGraderAPI
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import Config

    from cs336lite.grading.hooks import configure

    logging.getLogger("traitlets").setLevel(logging.ERROR)
    config = Config()
    with in_folder(course):
        extra = course / "nbgrader_config.py"
        if extra.exists():
            exec(compile(extra.read_text(), str(extra), "exec"), {"get_config": lambda: config, "__file__": str(extra)})
        else:
            configure(config, course)
        return NbGraderAPI(CourseDirectory(config=config), config=config)


def last_error(result: dict[str, Any]) -> str:
    """The last line that says anything in what an nbgrader command logged."""
    lines = [line for line in (result.get("error") or result.get("log") or "").strip().splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


@contextlib.contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
