"""The reference is judged before any submission: what its own checks fail is the instructor's mistake, and nobody's zero.

A check that the reference fails is wrong, or the reference is. Then nothing is graded, and the check is named with its line.
The verdict on the reference is kept like any other, so that all this costs one submission for each change of the checks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cs336lite.course.border import plain
from cs336lite.course.paths import CourseError
from cs336lite.grading.budget import WorkerFailure
from cs336lite.grading.excused import Excused
from cs336lite.grading.judge import Judge
from cs336lite.grading.structure import structure_of_source
from cs336lite.grading.submission import Submission, read_submission
from cs336lite.grading.verdicts import Verdict


def reference_of(course: Path, assignment: str) -> Submission | None:
    """The solved source notebook as if it had been handed in; None where the course has none."""
    source = course / "source" / assignment / f"{assignment}.ipynb"
    return read_submission(source, structure_of_source(source)) if source.is_file() else None


def expect_full_marks(
    judge: Judge,
    excused: Excused,
    promised: dict[str, float] | None = None,
    judge_anew: Callable[[Submission], Verdict] | None = None,
) -> None:
    """Judge the reference first, and compare the points of its checks with those that the gradebook promises.

    Args:
        judge: of a course; one that has no source notebook is not examined.
        excused: checks that the reference need not pass.
        promised: points of each exercise in the gradebook.
        judge_anew: how; by default by the judge itself.

    Raises:
        CourseError: a check fails, or stumbles; or the points are others.
    """
    reference = reference_of(judge.course, judge.name)
    if reference is None:
        return
    verdict = judge.kept(reference)
    try:
        for _ in range(2):  # once more, since a check of time may fail on a busy machine
            verdict = verdict or (judge_anew or judge.judge_anew)(reference)
            failed = [
                c for c in excused.apply(verdict).checks if not c.passed and c.max_points
            ]  # what is worth nothing may fail
            if not failed:
                break
            judge.path(reference).unlink(missing_ok=True)  # whatever is mended meanwhile, it is judged again
            if any(c.fault for c in failed):
                break
            verdict, last = None, verdict
        verdict = verdict or last
    except WorkerFailure as failure:
        raise CourseError(
            f"the reference of {judge.name} could not be judged, so nothing was graded: {failure}"
        ) from None
    if failed:
        raise CourseError(blame(judge, verdict, [f"{c.id}: {c.fault or c.message}" for c in failed]))
    if promised is not None:
        expect_promised(judge, verdict, promised)


def blame(judge: Judge, verdict: Verdict, failed: list[str]) -> str:
    """What to tell an instructor whose reference fails these checks."""
    name = judge.name
    if verdict.problem:
        return f"the reference of {name}, its source notebook, cannot be judged ({verdict.problem}): nothing was graded"
    return (
        f"the reference of {name} has not full marks, so nothing was graded or recorded: these checks are wrong, or it is:\n"
        + "".join(f"  {plain(one)}\n" for one in failed)
        + f"Mend them in {judge.source_path} (a reference: in text/{name}.py, then `cs336lite build`). To grade without one "
        f'until then: `cs336lite excuse {name} CHECK --exclude --why "…"`.'
    )


def expect_promised(judge: Judge, verdict: Verdict, promised: dict[str, float]) -> None:
    """Compare the points of the checks with those in the gradebook. Raises CourseError."""
    worth: dict[str, float] = {}
    for check in filter(lambda c: c.max_points, verdict.checks):
        worth[check.exercise] = worth.get(check.exercise, 0) + check.max_points
    others = [
        f"  {name}: {promised[name]:g} in the gradebook, {worth[name]:g} in the checks"
        for name in promised
        if name in worth and abs(promised[name] - worth[name]) > 1e-6
    ]
    others += [f"  {name}: {promised[name]:g} in the gradebook, and no check" for name in promised if name not in worth]
    others += [
        f"  {name}: {worth[name]:g} in the checks, and not in the gradebook" for name in worth if name not in promised
    ]
    if others:
        name = judge.name
        raise CourseError(
            f"the points of {name} are others in the gradebook than in its checks, so nothing was graded:\n"
            + "".join(f"{line}\n" for line in others)
            + f"Make text/{name}.py and the checks in hidden/ agree (`cs336lite build {name}` says where they do not), then run "
            f"`nbgrader generate_assignment {name} --force` in {judge.course}: grades that are there are scaled at the next "
            "`cs336lite grade`."
        )
