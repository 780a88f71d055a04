"""Grade a class or single files: read, judge in parallel, and (for a class) record, each submission by itself.

    submitted/ ──read──▶ Submission ──judge (pool)──▶ Verdict (a file) ──record (one writer)──▶ gradebook, autograded/

Every step can be cut off at any moment and started again: a verdict that is there is not judged anew, an entry that is
recorded is not written again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cs336lite.course.border import plain
from cs336lite.course.paths import CourseError
from cs336lite.grading import sharing
from cs336lite.grading.budget import WorkerFailure
from cs336lite.grading.excused import read_excused
from cs336lite.grading.find import kind_of_file
from cs336lite.grading.items import file_item, folders_of, item_of
from cs336lite.grading.judge import Judge
from cs336lite.grading.locks import only_writer
from cs336lite.grading.nbgrader_api import course_config
from cs336lite.grading.nbgrader_api import nbgrader_api as nbgrader_api
from cs336lite.grading.pools import Answer, Cluster, Item, Processes
from cs336lite.grading.reference import expect_full_marks
from cs336lite.grading.structure import StructureCell, structure_of_source
from cs336lite.grading.submission import Submission
from cs336lite.grading.verdicts import Verdict

if TYPE_CHECKING:
    from cs336lite.grading.late import Standing
    from cs336lite.grading.record import Recorder


@dataclass(frozen=True)
class Graded:
    """One graded submission: ``label`` is a student's name or a file, as the caller gave it.

    ``note`` says which file was judged, where that is not the one with the right name alone, and what else the instructor
    should know. Of a class: ``standing`` is what the gradebook holds, ``submission`` the hash of what was judged, ``kept``
    the name of the verdict's file.
    """

    label: str
    verdict: Verdict
    note: str = ""
    standing: Standing | None = None
    submission: str = ""
    kept: str = ""


class NotAllGraded(CourseError):
    """Some submissions could not be graded, through no fault of theirs; ``graded`` are all the others."""

    def __init__(self, graded: list[Graded], failed: list[str]) -> None:
        super().__init__("not graded:\n  " + "\n  ".join(map(plain, failed)) + "\nRun the same command again to go on.")
        self.graded = graded


def by_reason(failures: list[tuple[str, str]]) -> list[str]:
    """A line for each reason, with those whom it meets."""
    labels: dict[str, list[str]] = {}
    for label, reason in sorted(failures):
        labels.setdefault(reason, []).append(label)
    return [f"{named(found)}: {reason}" for reason, found in labels.items()]


def named(labels: list[str], most: int = 10) -> str:
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(labels[:most]) + more


@dataclass(frozen=True)
class How:
    """How to judge: processes here, or a dask scheduler's address; without enough protection; a new jail for each;
    anew, though a verdict is kept."""

    jobs: int = 1
    dask: str | None = None
    trust: bool = False
    strict: bool = False
    force: bool = False


@dataclass(frozen=True)
class Whom:
    """Whom of a class to grade: all, or some; with ``add`` also who is not on the roster; with ``anyway`` also what looks
    like another assignment's work."""

    students: tuple[str, ...] = ()
    add: bool = False
    anyway: bool = False


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
    from cs336lite.grading.mistaken import Assignments

    source = course / "source" / assignment / f"{assignment}.ipynb"
    structure = structure_of_source(source) if source.exists() else []
    others = Assignments(course)
    items = (file_item(number, path.resolve(), assignment, structure, others) for number, path in enumerate(files))
    graded: dict[int, Graded] = {}
    failed = []
    with Judge(course, assignment, trust=(how or How()).trust, strict=(how or How()).strict) as judge:
        for item, verdict in progress(judged(judge, items, len(files), how or How(jobs)), len(files), "judging"):
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
    course: Path,
    assignment: str,
    *,
    jobs: int = 1,
    progress: Progress = no_progress,
    how: How | None = None,
    whom: Whom = Whom(),
    tell: Callable[[str], object] = lambda _: None,
) -> list[Graded]:
    """Judge every submission in ``submitted/`` and record it in the gradebook and ``autograded/``.

    What has been judged and recorded before, and has not changed since, is left as it is, but for penalties: these are
    computed anew. ``tell`` hears what the instructor should know of the run. Raises NotAllGraded.
    """
    from cs336lite.grading import exchange, misplaced, roster
    from cs336lite.grading.mistaken import Assignments
    from cs336lite.grading.record import Entry, Recorder, complete

    how = how or How(jobs)
    folders = folders_of(course, assignment, whom.students)
    lost = [] if whom.students else misplaced.misplaced(course, assignment)
    if not folders:
        raise CourseError(
            f"no submissions of {assignment} in {course / 'submitted'}: collect them first (`nbgrader collect {assignment}`)"
            + "".join(f"\n  {sentence}" for sentence in lost)
        )
    graded: list[Graded] = []
    failed: list[tuple[str, str]] = []
    rights = sharing.rights_of(course)
    sharing.settle(course, rights)
    config = course_config(course)
    exchange.guard(course, exchange.of_course(course, config))
    with (
        only_writer(course, assignment, rights),
        Recorder(course, assignment, config, rights) as recorder,
        Judge(course, assignment, trust=how.trust, strict=how.strict) as judge,
    ):
        written = ("autograded", "backups", f"verdicts/{assignment}")
        sharing.check_writable(course, *(course / name for name in written), rights=rights)
        strangers = recorder.roster.strangers((folder.parent.name for folder in folders), whom.add)
        folders = [folder for folder in folders if folder.parent.name not in strangers]
        others = Assignments(course, {assignment: recorder.structure})
        items = (item_of(folder, assignment, recorder.structure, others, whom.anyway) for folder in folders)
        answers = judged(judge, items, len(folders), how, promised_by(recorder.structure))
        for item, verdict in progress(answers, len(folders), "grading"):
            folder, notebook, note = item.carried
            try:
                if not isinstance(verdict, Verdict):
                    raise CourseError(str(verdict))
                complete(notebook, verdict)
                entry = Entry.of(folder, notebook)
                if how.force or not recorder.is_current(entry):
                    recorder.record(entry)
                standing = recorder.settle(item.label, entry.stamp.when)
                notes = "; ".join(filter(None, (note, entry.stamp.note)))
                judged_as = item.submission.digest(), judge.path(item.submission).name
                graded.append(Graded(item.label, verdict, notes, standing, *judged_as))
            except sharing.Stop:
                raise
            except Exception as error:  # one that cannot be recorded takes no other with it
                failed.append((item.label, str(error).splitlines()[0] if str(error) else type(error).__name__))
        if not whom.students:
            failed += settle_the_others(recorder, {g.label for g in graded}, {label for label, _ in failed})
        tell_of_run(recorder, graded, {folder.parent.name for folder in folders}, whom, tell)
    graded.sort(key=lambda g: g.label)
    questions = [roster.question(strangers, assignment)] if strangers else []
    if failed or questions or lost:
        raise NotAllGraded(graded, [*by_reason(failed), *questions, *lost])
    return graded


def settle_the_others(recorder: Recorder, graded: set[str], failed: set[str]) -> list[tuple[str, str]]:
    """Compute the penalties of those anew who are in the gradebook and were not graded now; whose policy failed."""
    failures = []
    for student in sorted(set(recorder.recorded) - graded):
        try:
            recorder.settle(student)
        except CourseError as error:
            if student not in failed:
                failures.append((student, str(error)))
    return failures


def tell_of_run(
    recorder: Recorder, graded: list[Graded], there: set[str], whom: Whom, tell: Callable[[str], object]
) -> None:
    """What a run did beside judging: penalties that changed, students that are new, work that is there no more."""
    if changed := recorder.changed:
        shown = named([f"{student} {old:g} -> {new:g}" for student, (old, new) in sorted(changed.items())])
        tell(f"late penalties changed for {len(changed)}: {shown}")
    if added := recorder.roster.added(g.label for g in graded):
        tell(added)
    if not whom.students and (gone := sorted(recorder.graded_before - there)):
        tell(f"graded before, and no longer in submitted/ (the grades are kept): {named(gone)}")


def judged(
    judge: Judge, items: Iterable[Item], number: int, how: How, promised: dict[str, float] | None = None
) -> Iterator[tuple[Item, Verdict | WorkerFailure]]:
    """Each of so many items with its verdict, in any order, after the reference's; by the course's exceptions (see
    `excused`).

    Raises CourseError before the first when the checks or the exceptions are wrong.
    """
    excused = read_excused(judge.course, judge.name)
    with Processes(judge, how.jobs) if how.dask is None else Cluster(judge, how.dask) as pool:
        expect_full_marks(judge, excused, promised, lambda submission: judge_in(pool, submission))
        for item, verdict in as_judged(judge, items, number, pool, how.force):
            yield item, excused.apply(verdict) if isinstance(verdict, Verdict) else verdict


def as_judged(
    judge: Judge, items: Iterable[Item], number: int, pool: Processes | Cluster, force: bool
) -> Iterator[Answer]:
    """Each of so many items with its verdict: the kept verdicts at once, the others as the pool gives them."""
    for place, item in enumerate(items):
        pool.left = number - place
        if item.failure is not None:
            yield item, item.failure
            continue
        if not force and (verdict := judge.kept(item.submission)) is not None:
            yield item, verdict
            continue
        yield from pool.take(item)
    yield from pool.finish()


def judge_in(pool: Processes | Cluster, submission: Submission) -> Verdict:
    """The verdict of an idle pool on one submission. Raises WorkerFailure."""
    ((_, verdict),) = [*pool.take(Item("", submission)), *pool.finish()]
    if isinstance(verdict, WorkerFailure):
        raise verdict
    return verdict


def promised_by(structure: list[StructureCell]) -> dict[str, float]:
    """The points of each exercise in the gradebook."""
    from cs336lite.grading.feedback_cells import exercise_of

    return {exercise_of(cell.name): cell.points for cell in structure if cell.grade}
