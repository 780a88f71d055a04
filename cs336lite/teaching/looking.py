"""Run the checks of one submission and keep what was asked and what came: for an instructor who wants to know why.

It happens as in grading, in a process with limits that has the jail's worker beside it, with one difference: the child also
tells the text of an exception. What is kept is short text, all of it untrusted; none of it goes into a verdict.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import reprlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from cs336lite.course import answers
from cs336lite.course.paths import CourseError
from cs336lite.course.spec import Check, Fail, Spec, StudentError, load_spec
from cs336lite.grading.bench import Bench
from cs336lite.grading.budget import Budget, WorkerFailure
from cs336lite.grading.remote import RemoteStudent
from cs336lite.grading.submission import Submission

CALLS = 3  # of a check, the last ones
LINES = 5  # of one value
LETTERS = 500  # of one value
CELLS = 5  # exceptions in cells that are told
NAMES = 12  # of a statement whose values are shown


# -- values ---------------------------------------------------------------------------------------------------------


class Short(reprlib.Repr):
    """Values in a few lines: tensors with dtype and shape, files by what they hold."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__()
        self.files = files
        self.maxlist = self.maxtuple = self.maxset = self.maxdict = self.maxarray = 6
        self.maxlevel, self.maxstring, self.maxlong, self.maxother = 5, 120, 40, 120

    def repr_str(self, value: str, level: int) -> str:
        if value in self.files:
            data = self.files[value]
            return f"<file of {len(data)} bytes: {data[:60]!r}{'…' if len(data) > 60 else ''}>"
        return super().repr_str(value, level)

    def repr_Tensor(self, value: Any, level: int) -> str:
        shape = f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
        if value.numel() == 1:
            return f"{shape} {value.item()!r}"
        if level < self.maxlevel:  # one of many
            first = ", ".join(f"{x:.4g}" for x in value.detach().flatten()[:4].tolist())
            return f"{shape} [{first}{', …' if value.numel() > 4 else ''}]"
        import torch

        torch.set_printoptions(precision=4, threshold=24, edgeitems=3, linewidth=56)
        text = repr(value.detach()).removeprefix("tensor(").rpartition("]")[0] + "]"
        between = "\n" if "\n" in text else " "
        return shape + between + "\n".join(line.removeprefix("       ") for line in text.split("\n"))

    repr_Parameter = repr_Tensor


def short(value: Any, files: dict[str, bytes]) -> str:
    try:
        text = Short(files).repr(value)
    except Exception as error:
        text = f"({type(value).__name__}, which cannot be shown: {type(error).__name__})"
    lines = text[:LETTERS].split("\n")
    cut = len(lines) > LINES or len(text) > LETTERS
    return "\n".join(lines[:LINES]) + (" …" if cut else "")


def difference(got: Any, expected: Any) -> str:
    """Where two values of one kind differ; empty where that cannot be said shortly."""
    if hasattr(got, "isfinite") and hasattr(expected, "isfinite"):
        if got.shape != expected.shape or not got.numel():
            return f"shapes {tuple(got.shape)} and {tuple(expected.shape)}" if got.shape != expected.shape else ""
        a, b = got.detach().double().flatten(), expected.detach().double().flatten()
        apart = (a - b).abs().nan_to_num(float("inf"), float("inf"), float("inf"))
        apart[(a == b) | (a.isnan() & b.isnan())] = 0
        if not bool(apart.any()):
            return "no number differs"
        where, flat = [], int(apart.argmax())
        for size in reversed(got.shape):
            where.insert(0, flat % size)
            flat //= size
        worst = int(apart.argmax())
        many = f"{int((apart > 0).sum())} of {len(apart)} numbers differ, most"
        return f"{many} at {where}: {float(a[worst]):.6g} and {float(b[worst]):.6g}"
    if type(got) is not type(expected) or type(got) not in (list, tuple, str, bytes):
        return ""
    for place, (one, other) in enumerate(zip(got, expected)):  # the shorter one's length is looked at below
        if type(one) is type(other) and type(one) in (int, float, str, bytes, tuple) and one != other:
            return f"first at [{place}]: {reprlib.repr(one)} and {reprlib.repr(other)}"
    return f"lengths {len(got)} and {len(expected)}" if len(got) != len(expected) else ""


# -- what was asked -------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Call:
    """One question: a driver and its arguments, and the answer or what was raised."""

    driver: Callable
    args: tuple
    answer: Any = None
    error: StudentError | None = None
    story: Any = None


class Recording:
    """A student whose last answers are kept (a `cs336lite.course.spec.Student`)."""

    def __init__(self, student: RemoteStudent) -> None:
        self.student = student
        self.calls: deque[Call] = deque(maxlen=CALLS)
        self.asked = 0
        self.files: dict[str, bytes] = {}

    def run(self, driver: Callable, *args: Any) -> Any:
        return self.ask(self.student.run, driver, args)

    def cpu_seconds(self, driver: Callable, *args: Any) -> float:
        return self.ask(self.student.cpu_seconds, driver, args)

    def timed(self, driver: Callable, *args: Any) -> tuple[Any, float]:
        return self.ask(self.student.timed, driver, args)

    def yardstick(self, driver: Callable, *args: Any) -> float:
        return self.student.yardstick(driver, *args)

    def file(self, data: bytes) -> str:
        path = self.student.file(data)
        self.files[path] = data
        return path

    def ask(self, how: Callable, driver: Callable, args: tuple) -> Any:
        call = Call(driver, args)
        self.calls.append(call)
        self.asked += 1
        before = len(self.student.stories)
        try:
            call.answer = how(driver, *args)
        except StudentError as error:
            call.error = error
            call.story = (self.student.stories[before:] or [None])[-1]
            raise
        return call.answer

    def told(self, call: Call, spec: Spec) -> dict[str, Any]:
        parameters = list(inspect.signature(call.driver).parameters)[1:]
        names = [*parameters, *("" for _ in call.args[len(parameters) :])]
        code = call.driver.__code__
        return {
            "driver": call.driver.__name__,
            "file": shown(code.co_filename, spec),
            "line": code.co_firstlineno,
            "args": [[name, short(value, self.files)] for name, value in zip(names, call.args)],
            "came": "" if call.error else short(call.answer, self.files),
            "error": str(call.error or ""),
            "story": call.story,
        }


# -- what was compared ----------------------------------------------------------------------------------------------

_compared: list[tuple[Any, Any]] = []  # the last pair that did not agree, when there is one


def spy(compare: Callable[..., bool]) -> Callable[..., bool]:
    """A comparison that keeps the last pair of values that it found to differ."""

    @functools.wraps(compare)
    def compared(got: Any, expected: Any, *more: Any, **named: Any) -> bool:
        agree = compare(got, expected, *more, **named)
        if agree is not True:
            _compared[:] = [(got, expected)]
        return agree

    return compared


# -- where a check failed -------------------------------------------------------------------------------------------


def shown(file: str, spec: Spec) -> str:
    """How a file of checks is called: ``a1_bpe.py``, or ``a1_bpe/train.py`` in a folder."""
    path = Path(file)
    return path.relative_to(spec.path.parent).as_posix() if file in spec.files else path.name


def place_of(error: BaseException, spec: Spec, files: dict[str, bytes]) -> dict[str, Any]:
    """The statement of the checks' files in which a check ended, what stood in it, and what was compared last."""
    trace, frame, line = error.__traceback__, None, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in spec.files:
            frame, line = trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next
    if frame is None:
        return {}
    file = frame.f_code.co_filename
    source = "".join(linecache.getlines(file))
    found = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.stmt) and n.lineno <= line <= n.end_lineno]
    node = max(found, key=lambda n: (n.lineno, -n.end_lineno), default=None)
    if node is None:
        return {}
    parts = node if not hasattr(node, "body") else getattr(node, "test", getattr(node, "iter", node))
    rows = source.splitlines()[node.lineno - 1 : parts.end_lineno]
    values = values_in(parts, frame) if parts is not node or not hasattr(node, "body") else {}
    values = values or values_in(ast.parse("; ".join(name for name in frame.f_locals if name.isidentifier())), frame)
    values = {n: v for n, v in values.items() if not (isinstance(v, str) and v in str(error))}
    pair = _compared[0] if _compared else None
    return {
        "compared": [short(one, files) for one in pair] + [difference(*pair)] if pair else [],
        "file": shown(file, spec),
        "line": node.lineno,
        "source": inspect.cleandoc("\n".join(["", *rows]))[:LETTERS],
        "values": [[name, short(value, files)] for name, value in [*values.items()][:NAMES]],
        "difference": first_difference(list(values.values())),
    }


def values_in(node: ast.AST, frame: Any) -> dict[str, Any]:
    """What the names, attributes and elements in a statement are, as far as looking at them runs nothing."""
    found: dict[str, Any] = {}

    def look(part: ast.AST) -> None:
        if is_plain(part, frame.f_locals):
            name = ast.unparse(part)
            try:
                value = eval(
                    compile(ast.Expression(cast(ast.expr, part)), "<looking>", "eval"),
                    frame.f_globals,
                    dict(frame.f_locals),
                )
            except Exception:
                return
            if (
                not callable(value)
                and not isinstance(value, BaseException)
                and not isinstance(value, Recording)
                and not inspect.ismodule(value)
            ):
                found.setdefault(name, value)
            return
        for child in ast.iter_child_nodes(part):
            look(child)

    look(node)
    return {name: value for name, value in found.items() if type(value).__name__ != "Random"}


def is_plain(node: ast.AST, names: dict[str, Any]) -> bool:
    if isinstance(node, ast.Name):
        return isinstance(node.ctx, ast.Load) and node.id in names
    if isinstance(node, ast.Attribute):
        return is_plain(node.value, names)
    if isinstance(node, ast.Subscript):
        return is_plain(node.value, names) and (isinstance(node.slice, ast.Constant) or is_plain(node.slice, names))
    return False


def first_difference(values: list[Any]) -> str:
    for number, one in enumerate(values):
        for other in values[number + 1 :]:
            if said := difference(one, other):
                return said
    return ""


# -- by name, in a limited process ----------------------------------------------------------------------------------

_open: list[Bench] = []


def open_bench(path: str, source: str, seed: str, trust: bool, layers: list[str], budget: dict) -> list[dict[str, Any]]:
    """Load the checks; their ids, exercises and titles. Raises CourseError for checks that cannot be loaded."""
    answers.close, answers.same = spy(answers.close), spy(answers.same)
    try:
        spec = load_spec(path, source)
    except Exception as error:
        raise CourseError(f"the hidden checks in {path} cannot be loaded: {type(error).__name__}: {error}") from None
    _open.append(Bench(spec, seed, trust=trust, layers=tuple(layers), budget=Budget(**budget)))
    return [{"id": c.id, "exercise": c.exercise, "title": c.title, "points": c.points} for c in spec.checks]


def look(cells: list, name: str, begin: int, wanted: list[str]) -> Iterator[dict[str, Any]]:
    """Notes on each check: its number as it begins, then how it ended; with all that was asked, where that is wanted:
    of the checks named, or of those that fail when none is. All run, in the order of grading."""
    bench = _open[0]
    submission = Submission(tuple((str(label), str(source)) for label, source in cells), name)
    try:
        bench.expect(submission)
        student = bench.ready_worker().admit(submission.cells, submission.name)
    except WorkerFailure as failure:
        raise CourseError(str(failure)) from None
    student.tell = True
    try:
        for number, check in enumerate(bench.spec.checks[begin:], begin):
            yield {"begins": number}
            seen = see(bench, check, student)
            if not (check.id in wanted if wanted else not seen["passed"]):
                seen |= {"calls": [], "where": {}}
            yield {"seen": seen}
    except WorkerFailure as failure:
        raise CourseError(f"the process in which the submission ran was lost: {failure}") from None
    finally:
        student.close()
        bench.close()


def see(bench: Bench, check: Check, student: RemoteStudent) -> dict[str, Any]:
    """What a check says of a student, and what it saw."""
    recording, raised = Recording(student), []

    def function(_: Any, rng: Any) -> None:
        try:
            check.function(recording, rng)
        except BaseException as error:
            raised.append(error)
            raise

    _compared.clear()
    result = bench.judged(replace(check, function=function), student)
    error = raised[-1] if raised and not result.passed else None
    stumbled = error is not None and not isinstance(error, Fail | StudentError)
    where = place_of(error, bench.spec, recording.files) if error else {}
    return {
        **asdict(result),
        "asked": recording.asked,
        "calls": [recording.told(call, bench.spec) for call in recording.calls],
        "where": where,
        "stumbled": f"{type(error).__name__}: {error}"[:LETTERS] if stumbled else "",
        "cells": student.cell_stories[:CELLS],
    }
