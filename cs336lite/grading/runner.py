"""Grade a class or single files: read, judge in parallel, and (for a class) record, each submission by itself.

    submitted/ ──read──▶ Submission ──judge (pool)──▶ Verdict (a file) ──record (one writer)──▶ gradebook, autograded/

Every step can be cut off at any moment and started again: a verdict that is there is not judged anew, an entry that is
recorded is not written again.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cs336lite.course.border import plain
from cs336lite.course.paths import CourseError
from cs336lite.grading.client import WorkerFailure
from cs336lite.grading.find import Found, Opened, kind_of_file
from cs336lite.grading.pools import Cluster, Item, Processes
from cs336lite.grading.submission import (
    StructureCell,
    Submission,
    SubmittedNotebook,
    is_script,
    link_above,
    normalise,
    read_notebook,
    read_submission,
    structure_of_source,
    submission_of,
    submission_of_file,
)
from cs336lite.grading.verdicts import Judge, Verdict
from cs336lite.teaching import sharing
from cs336lite.teaching.locks import only_writer


@dataclass(frozen=True)
class Graded:
    """One graded submission: ``label`` is a student's name or a file, as the caller gave it.

    ``note`` says which file was judged, where that is not the one with the right name alone.
    """

    label: str
    verdict: Verdict
    note: str = ""


class NotAllGraded(CourseError):
    """Some submissions could not be graded, through no fault of theirs; ``graded`` are all the others."""

    def __init__(self, graded: list[Graded], failed: list[str]) -> None:
        super().__init__("not graded:\n  " + "\n  ".join(map(plain, failed)) + "\nRun the same command again to go on.")
        self.graded = graded


@dataclass(frozen=True)
class How:
    """How to judge: processes here, or a dask scheduler's address; without enough protection; a new jail for each."""

    jobs: int = 1
    dask: str | None = None
    trust: bool = False
    strict: bool = False


Progress = Callable[[Iterable, int, str], Iterator]


def no_progress(items: Iterable, total: int, what: str) -> Iterator:
    yield from items


def grade_files(
    course: Path,
    assignment: str,
    files: list[Path],
    *,
    jobs: int = 1,
    progress: Progress = no_progress,
    how: How | None = None,
) -> list[Graded]:
    """Verdicts on notebooks, plain Python files, archives or folders with one of these, in the order given; no gradebook
    is touched.

    Raises CourseError for a file that does not exist or has another ending: that is the caller's mistake, whereas
    a file that cannot be judged is the submission's, and scores zero. Raises NotAllGraded.
    """
    for path in files:
        if not path.is_file() and not path.is_dir():
            raise CourseError(f"no such file: {plain(path)}")
        if not path.is_dir() and not kind_of_file(path.name):
            raise CourseError(
                f"{plain(path)}: a submission is a notebook (.ipynb), a plain Python file (.py), or a .zip with one"
            )
    source = course / "source" / assignment / f"{assignment}.ipynb"
    structure = structure_of_source(source) if source.exists() else []
    items = (file_item(number, path.resolve(), assignment, structure) for number, path in enumerate(files))
    graded: dict[int, Graded] = {}
    failed = []
    with Judge(course, assignment, trust=(how or How()).trust, strict=(how or How()).strict) as judge:
        for item, verdict in progress(judged(judge, items, how or How(jobs)), len(files), "judging"):
            label = str(files[item.label])
            if isinstance(verdict, Verdict):
                graded[item.label] = Graded(label, verdict, item.carried)
            else:
                failed.append(f"{label}: {verdict}")
    done = [graded[number] for number in sorted(graded)]
    if failed:
        raise NotAllGraded(done, failed)
    return done


def grade_class(
    course: Path, assignment: str, *, jobs: int = 1, progress: Progress = no_progress, how: How | None = None
) -> list[Graded]:
    """Judge every submission in ``submitted/`` and record it in the gradebook and ``autograded/``.

    What has been judged and recorded before, and has not changed since, is left as it is. Raises NotAllGraded.
    """
    from cs336lite.grading.record import Entry, Recorder, complete

    how = how or How(jobs)
    folders = sorted(p for p in (course / "submitted").glob(f"*/{assignment}") if p.is_dir())
    if not folders:
        raise CourseError(
            f"no submissions of {assignment} in {course / 'submitted'}: collect them first (`nbgrader collect {assignment}`)"
        )
    graded, failed = [], []
    rights = sharing.rights_of(course)
    sharing.settle(course, rights)
    with (
        only_writer(course, assignment, rights),
        Recorder(course, assignment, course_config(course), rights) as recorder,
        Judge(course, assignment, trust=how.trust, strict=how.strict) as judge,
    ):
        written = ("autograded", "backups", f"verdicts/{assignment}")
        sharing.check_writable(course, *(course / name for name in written), rights=rights)
        items = (item_of(folder, assignment, recorder.structure) for folder in folders)
        for item, verdict in progress(judged(judge, items, how), len(folders), "grading"):
            folder, notebook, note = item.carried
            try:
                if not isinstance(verdict, Verdict):
                    raise CourseError(str(verdict))
                complete(notebook, verdict)
                entry = Entry.of(folder, notebook)
                if not recorder.is_current(entry):
                    recorder.record(entry)
                graded.append(Graded(item.label, verdict, note))
            except sharing.Stop:
                raise
            except Exception as error:  # one that cannot be recorded takes no other with it
                failed.append(f"{item.label}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    graded.sort(key=lambda g: g.label)
    if failed:
        raise NotAllGraded(graded, sorted(failed))
    return graded


def file_item(number: int, path: Path, assignment: str, structure: list[StructureCell]) -> Item:
    """A file to judge."""
    try:
        with Opened(path, assignment) as found:
            submission = read_submission(found.path, structure)
    except CourseError as error:
        return Item(number, Submission(), failure=WorkerFailure(str(error)))
    return Item(number, with_note(submission, found.note), found.note)


def item_of(folder: Path, assignment: str, structure: list[StructureCell]) -> Item:
    """A student's submission to judge, and what is needed to record it: its folder, its clean notebook, and a note.

    A file of another name that cannot be read is a question to the instructor, and no zero.
    """
    student = folder.parent.name
    try:
        problem = link_above(folder / f"{assignment}.ipynb", folder.parents[1])
        with nullcontext(Found(folder)) if problem else Opened(folder, assignment) as found:
            notebook, problem = (SubmittedNotebook(), problem) if problem else read_notebook(found.path)
        if problem and found.guessed:
            raise CourseError(f"{found.note}; but {problem}")
    except CourseError as error:
        return Item(student, Submission(), (folder, None, ""), failure=WorkerFailure(str(error)))
    clean, notes = normalise(notebook, structure)
    if problem:
        submission = Submission(problem=problem)
    elif is_script(found.path):
        submission = submission_of_file(notebook.cells[0].source)
    else:
        submission = submission_of(clean, notes)
    return Item(student, with_note(submission, found.note), (folder, clean, found.note))


def with_note(submission: Submission, note: str) -> Submission:
    return replace(submission, notes=(note, *submission.notes)) if note else submission


def judged(judge: Judge, items: Iterable[Item], how: How) -> Iterator[tuple[Item, Verdict | WorkerFailure]]:
    """Each item with its verdict, in any order: the kept verdicts at once, the others as the pool gives them."""
    with Processes(judge, how.jobs) if how.dask is None else Cluster(judge, how.dask) as pool:
        for item in items:
            if item.failure is not None:
                yield item, item.failure
                continue
            if (verdict := judge.kept(item.submission)) is not None:
                yield item, verdict
                continue
            yield from pool.take(item)
        yield from pool.finish()


# -- nbgrader ---------------------------------------------------------------------------------------------------


def course_config(course: Path) -> Any:
    """The configuration of nbgrader's commands when they are started in the course folder."""
    from traitlets.config import Config

    from cs336lite.grading.hooks import configure

    logging.getLogger("traitlets").setLevel(logging.ERROR)
    config = Config()
    extra = course / "nbgrader_config.py"
    with in_folder(course):
        if extra.exists():
            exec(compile(extra.read_text(), str(extra), "exec"), {"get_config": lambda: config, "__file__": str(extra)})
        else:
            configure(config, course)
    return config


def nbgrader_api(course: Path) -> Any:
    """nbgrader's own API, configured as its command line is when started in the course folder."""
    from nbgrader.apps import NbGraderAPI
    from nbgrader.coursedir import CourseDirectory

    config = course_config(course)
    with in_folder(course):
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
