"""``check("a1_bpe", "train")``: run the public checks on a solution, and show what passed, what did not, and why."""

from __future__ import annotations

import contextlib
import html
import os
import signal
import threading
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs336lite import scratch
from cs336lite.course import beforehand, progress
from cs336lite.course.border import plain
from cs336lite.course.paths import (
    CourseError,
    assignment_name,
    assignment_notebook,
    find_root,
    is_student_edition,
)
from cs336lite.course.spec import CheckResult, LocalStudent, Spec, StudentError, load_spec

GREEN, RED = "#1a7f37", "#b35900"  # told apart by the words beside them as well


@dataclass(frozen=True)
class CheckReport:
    """What the public checks said. Shows itself as a table, in a notebook and in a terminal."""

    assignment: str
    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        return all(r.passed for r in self.results)

    @property
    def summary(self) -> str:
        count = sum(r.passed for r in self.results)
        return f"{count} of {len(self.results)} public checks passed; the hidden checks follow when you hand in"

    def _repr_html_(self) -> str:
        cell = 'style="text-align:left;vertical-align:top;padding:2px 12px 2px 0"'
        rows = []
        for r in self.results:
            mark = f'<b style="color:{GREEN}">pass</b>' if r.passed else f'<b style="color:{RED}">not yet</b>'
            why = f"<br><span>{html.escape(r.message)}</span>" if r.message else ""
            rows.append(
                f"<tr><td {cell}>{mark}</td><td {cell}>{r.exercise}</td><td {cell}>{html.escape(r.title)}{why}</td></tr>"
            )
        return f"<table>{''.join(rows)}</table><p>{html.escape(self.summary)}</p>"

    def __rich__(self) -> Any:
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, title=f"public checks of {self.assignment}", title_justify="left")
        for column in ("", "exercise", "check"):
            table.add_column(column)
        for r in self.results:
            mark = Text("pass", "green") if r.passed else Text("not yet", "bold yellow")
            table.add_row(mark, r.exercise, Text(r.title if r.passed else f"{r.title}\n{r.message}"))
        return Group(table, Text(self.summary))

    def __repr__(self) -> str:
        lines = [f"{'pass' if r.passed else 'NOT YET'}  {r.id}  {r.message}".rstrip() for r in self.results]
        return "\n".join([*lines, self.summary])


def check(
    assignment: str, exercise: str | None = None, *, solution: Path | None = None, root: Path | None = None
) -> CheckReport:
    """Run the public checks of an assignment, or of one of its exercises.

    Inside a notebook the names that it has defined are checked; elsewhere, what its file exports.

    Args:
        assignment: ``"a1_bpe"``, or ``"a1"``.
        exercise: one exercise; by default all of them.
        solution: a notebook or a plain ``.py`` to check instead.

    Raises:
        CourseError: no such assignment, exercise or file.
    """
    scratch.sweep()
    root = root or find_root()
    name = assignment_name(root, assignment)
    spec = public_spec(root, name)
    if exercise is not None and exercise not in spec.exercises:
        raise CourseError(f"{name} has no exercise {exercise!r}; it has: {', '.join(spec.exercises)}")
    namespace = user_names() if solution is None else None
    if namespace is None:
        namespace = names_of_file(solution or assignment_notebook(root, name))
    results = run_checks(spec, LocalStudent(namespace), exercise)
    if "CS336LITE_BUILD" not in os.environ:  # a build is nobody's progress
        progress.record_checks(root, name, results)
        beforehand.tell(solution or assignment_notebook(root, name))
    report = CheckReport(name, tuple(results))
    if "NBGRADER_VALIDATING" in os.environ and not report.passed:
        raise CourseError(repr(report))  # the Validate button looks for errors, and for nothing else
    return report


def public_spec(root: Path, name: str) -> Spec:
    return load_spec(root / "assignments" / "public" / f"{name}.py")


def run_checks(spec: Spec, student: LocalStudent, exercise: str | None = None) -> list[CheckResult]:
    results = []
    try:
        for item in spec:
            if exercise in (None, item.exercise):
                with time_limit(4 * item.seconds):
                    results.append(item.run(student, seed=0))
    finally:
        student.close()
    return results


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


def names_of_file(path: Path) -> dict[str, Any]:
    """What a notebook's exported cells, or a plain Python file, define."""
    if not path.exists():
        raise CourseError(f"no such file: {plain(path)}")
    try:
        if path.suffix == ".ipynb":
            from cs336lite.course.export import export_notebook

            source = "\n\n".join(export_notebook(path).values())
        else:
            source = path.read_text(encoding="utf-8")
    except CourseError:
        raise
    except Exception as error:  # a notebook may hold anything
        raise CourseError(f"{plain(path)} cannot be read: {type(error).__name__}: {plain(error)}") from error
    module = types.ModuleType("solution")
    try:
        exec(compile(source, f"<cell of {path.name}>", "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        line = error.lineno if isinstance(error, SyntaxError) else last_line(error)
        raise CourseError(
            f"{plain(path.name)} cannot be run: {type(error).__name__}: {plain(error)} (line {line} of its code)"
        ) from error
    return module.__dict__


def last_line(error: BaseException) -> int:
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_lineno


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise StudentError in the code below after this many seconds, where the platform has such an alarm."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise StudentError("TimeLimit", f"stopped after {seconds:g} s: an endless loop, or too slow")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
