"""``check("a1_bpe", "train")``: run the public checks on a solution, and show what passed, what did not, and why."""

from __future__ import annotations

import html
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs336lite import scratch
from cs336lite.course import beforehand, progress
from cs336lite.course.border import plain
from cs336lite.course.paths import (
    GRADED_MODULES,
    CourseError,
    assignment_notebook,
    exercise_book,
    find_root,
    is_student_edition,
)
from cs336lite.course.solution import Ran, run_file
from cs336lite.course.spec import CheckResult, LocalStudent, Spec, load_spec
from cs336lite.course.timing import Stopped, time_limit

GREEN, RED = "#1a7f37", "#b35900"  # told apart by the words beside them as well


@dataclass(frozen=True)
class CheckReport:
    """What the public checks said. Shows itself as a table, in a notebook and in a terminal."""

    assignment: str
    results: tuple[CheckResult, ...]
    notes: tuple[str, ...] = ()  # on lines of its file that stopped, and on what is not there when work is graded

    @property
    def passed(self) -> bool:
        return all(r.passed for r in self.results)

    @property
    def summary(self) -> str:
        count = sum(r.passed for r in self.results)
        if self.assignment not in GRADED_MODULES:
            return f"{count} of {len(self.results)} checks passed"
        return f"{count} of {len(self.results)} public checks passed; the hidden checks follow when you hand in"

    def rows(self) -> list[tuple[CheckResult, str]]:
        """The results to show, with their messages: of those that say the same the first, with the number of the others."""
        shown: dict[Any, list[CheckResult]] = {}
        for r in self.results:
            shown.setdefault(r.id if r.passed or not r.message else (r.message,), []).append(r)
        return [(same[0], same[0].message + say_the_same(same)) for same in shown.values()]

    def _repr_html_(self) -> str:
        cell = 'style="text-align:left;vertical-align:top;padding:2px 12px 2px 0"'
        rows = []
        for r, message in self.rows():
            mark = f'<b style="color:{GREEN}">pass</b>' if r.passed else f'<b style="color:{RED}">not yet</b>'
            why = f"<br><span>{html.escape(message)}</span>" if message else ""
            rows.append(
                f"<tr><td {cell}>{mark}</td><td {cell}>{r.exercise}</td><td {cell}>{html.escape(r.title)}{why}</td></tr>"
            )
        below = "".join(f"<p>{html.escape(line)}</p>" for line in (*self.notes, self.summary))
        return f"<table>{''.join(rows)}</table>{below}"

    def __rich__(self) -> Any:
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, title=f"public checks of {self.assignment}", title_justify="left")
        for column in ("", "exercise", "check"):
            table.add_column(column)
        for r, message in self.rows():
            mark = Text("pass", "green") if r.passed else Text("not yet", "bold yellow")
            table.add_row(mark, r.exercise, Text(f"{r.title}\n{message}" if message else r.title))
        return Group(table, *map(Text, self.notes), Text(self.summary))

    def __repr__(self) -> str:
        lines = [f"{'pass' if r.passed else 'NOT YET'}  {r.id}  {message}".rstrip() for r, message in self.rows()]
        return "\n".join([*lines, *self.notes, self.summary])


def say_the_same(results: list[CheckResult]) -> str:
    """What follows the message of the first of several results that say the same."""
    if len(results) == 1:
        return ""
    others = [name for name in dict.fromkeys(r.exercise for r in results[1:]) if name != results[0].exercise]
    of = f" ({', '.join(others)})" if others else ""
    return f" (and {len(results) - 1} more check{'s say' if len(results) > 2 else ' says'} the same{of})"


def check(
    assignment: str, exercise: str | None = None, *, solution: Path | None = None, root: Path | None = None
) -> CheckReport:
    """Run the public checks of an assignment or of a lecture, or of one of its exercises.

    Inside a notebook the names that it has defined are checked; elsewhere, what its file exports.

    Args:
        assignment: ``"a1_bpe"``, or ``"a1"``; in a lecture's notebook ``"01_tokenizer"``.
        exercise: one exercise; by default all of them.
        solution: a notebook or a plain ``.py`` to check instead.

    Raises:
        CourseError: no such assignment, exercise or file.
    """
    scratch.sweep()
    root = root or find_root()
    name = exercise_book(root, assignment)
    spec = public_spec(root, name)
    if exercise is not None and exercise not in spec.exercises:
        raise CourseError(f"{name} has no exercise {exercise!r}; it has: {', '.join(spec.exercises)}")
    namespace = user_names() if solution is None else None
    graded = name in GRADED_MODULES
    if namespace is None and not graded:
        raise CourseError(f"exercises of a lecture are checked in its notebook: run the cell in notebooks/{name}.ipynb")
    asked = spec.exercises if exercise is None else [exercise]
    if taken := [wanted for wanted in asked if hasattr((namespace or {}).get(wanted), OURS)]:
        raise CourseError(
            f"`{taken[0]}` is the course's at the moment: run the cell in which you write yours, then check"
        )
    given = beforehand.given_in(root, name) if graded else frozenset()
    path = solution or assignment_notebook(root, name)
    ran = Ran(namespace) if namespace is not None else run_file(path, name, given)
    results = run_checks(spec, LocalStudent(ran.names), exercise)
    building = "CS336LITE_BUILD" in os.environ  # a build is nobody's progress
    if not building:
        progress.record_checks(root, name, results)
    found = beforehand.notes(path, given) if graded and not building else []
    report = CheckReport(name, tuple(results), (*ran.notes, *(f"note: {note}" for note in found)))
    if "NBGRADER_VALIDATING" in os.environ and not report.passed:
        raise CourseError(repr(report))  # the Validate button looks for errors, and for nothing else
    return report


def public_spec(root: Path, name: str) -> Spec:
    """The public checks and hints of an assignment, or of a lecture."""
    folder = root / "assignments" / "public" if name in GRADED_MODULES else root / "notebooks" / "checks"
    return load_spec(folder / f"{name}.py")


def run_checks(spec: Spec, student: LocalStudent, exercise: str | None = None) -> list[CheckResult]:
    """The results of the public checks. After an endless loop the rest of that exercise is not run, and after several
    nothing more."""
    results: list[CheckResult] = []
    endless: dict[str, float] = {}  # exercises, with the seconds lost
    try:
        for item in spec:
            if exercise not in (None, item.exercise):
                continue
            if item.exercise in endless or sum(endless.values()) >= MOST_SECONDS:
                results.append(item.failed(NOT_RUN if item.exercise in endless else NO_TIME))
                continue
            try:
                with time_limit(WAIT * item.seconds):
                    results.append(item.run(student, seed=0))
            except Stopped as stopped:
                endless[item.exercise] = WAIT * item.seconds
                results.append(item.failed(str(stopped)))
    finally:
        student.close()
    return results


OURS = "__cs336lite_solution__"
"""An attribute of the course's own functions, which stand in for a reader's in a lecture (`exercise.solution`)."""

WAIT = 2  # seconds on the wall for each second of processor time that a check may take
MOST_SECONDS = 40  # lost in endless loops
NOT_RUN = "not run: an earlier check of this exercise did not end"
NO_TIME = "not run: too many earlier checks did not end; name the exercise to check it alone"


def user_names() -> dict[str, Any] | None:
    """The names of the notebook that is running, or None outside one."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    shell = get_ipython()
    return shell.user_ns if shell is not None and hasattr(shell, "kernel") else None


COLLECTED = {"submitted", "autograded", "feedback", "exchange", "inbound", "collected", "downloaded"}
"""Folders in which nbgrader, or an instructor, keeps the work of others."""


def word_of_warning(root: Path, path: Path) -> str:
    """One line for whoever checks a file that is perhaps another's; empty for a student with a file of their own."""
    if is_student_edition(root) and not COLLECTED & set(path.resolve().parts):
        return ""
    return (
        f"note: `check` runs the code in {plain(path)} as you, with nothing around it; "
        "to judge work of others there is `cs336lite grade`"
    )
