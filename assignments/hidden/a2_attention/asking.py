"""Asking for tensors, and comparing them number by number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from math import isfinite
from random import Random
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

from cs336lite.course.answers import anything, close, list_of, some_tensor
from cs336lite.course.answers import ask as ask_for
from cs336lite.course.spec import Fail, StudentError, expect

from .drivers import drive_float16, drive_softmax

TENSOR = some_tensor(1000)  # what is judged later, with messages of its own


def ask(student, form: Any, driver: Callable, *args: Any, problems: dict[str, str] | None = None) -> Any:
    """`answers.ask`, with exceptions that betray a misconception (by type name) turned into a message."""
    try:
        return ask_for(student, form, driver, *args)
    except StudentError as error:
        if problems and error.kind in problems:
            raise Fail(problems[error.kind]) from error
        raise


def expect_shape(answer: Any, shape: Sequence[int], what: str) -> None:
    expect(answer is not None, f"None came back, is a `return` missing? {what}")
    expect(isinstance(answer, Tensor), f"what came back is no tensor: {what}")
    expect(answer.shape == torch.Size(shape), f"the shape is not the one asked for: {what}")
    expect(answer.dtype.is_floating_point, f"{what}, in a floating dtype")


def near(answer: Tensor, expected: Tensor, tolerance: float = 1e-5) -> bool:
    if isinstance(answer, Tensor) and answer.dtype == torch.float32:
        tolerance = max(tolerance, 3e-5)
    return close(answer, expected, tolerance, relative=tolerance)


TOGETHER = "it does not yet give what the formula gives; where another check fails, begin there"


def judge_together(
    answer: Any, expected: Tensor, where: str, what: str = "the result has the shape (..., q, dv)"
) -> None:
    """Fail unless an answer to ordinary questions is right; the other checks say why it is not."""
    expect_shape(answer, expected.shape, what)
    expect(near(answer, expected, 1e-4), f"{where}: {TOGETHER}")


def judge(
    answer: Any,
    expected: Tensor,
    otherwise: str,
    wrong: Iterable[tuple[Callable[[], Tensor], str]] = (),
    *,
    what: str = "the result has the shape (..., q, dv)",
    tolerance: float = 1e-5,
    at: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> None:
    """Fail unless ``answer`` is ``expected``, with the message of the misconception that gives this answer.

    ``at`` picks the part that is judged.
    """
    expect_shape(answer, expected.shape, what)
    if near(at(answer), at(expected), tolerance):
        return
    for make, message in wrong:
        expect(not is_like(make, at, answer, tolerance), message)
    expect(not bool(at(answer).isnan().any()), f"NaN in the result: {otherwise}")
    raise Fail(otherwise)


def is_like(make: Callable[[], Tensor], at: Callable, answer: Tensor, tolerance: float = 1e-5) -> bool:
    """Whether the answer is that of a misconception; one that does not fit these sizes is none."""
    try:
        return near(at(answer), at(make()), tolerance)
    except (RuntimeError, IndexError):
        return False


def once(gate: Callable) -> Callable:
    """A gate that a student passes once for all; each check draws the same for it, passed or not."""
    passed: WeakSet = WeakSet()

    @wraps(gate)
    def ask_once(student, rng) -> None:
        own = Random(rng.getrandbits(60))
        if student not in passed:
            gate(student, own)
            passed.add(student)

    return ask_once


def only(items: Sequence) -> Any:
    (item,) = items
    return item


def expect_slope(predicted: float, difference: float, of: str) -> None:
    """What the gradient predicts for a small step must be what the step changes."""
    message = f"the gradient through {of} is not that of what it computes: is a part of it detached?"
    expect(isfinite(difference), message)
    expect(abs(predicted - difference) <= 2e-5 + 0.02 * max(abs(predicted), abs(difference)), message)


def expect_gradient(gradient: Tensor | None, message: str) -> None:
    """The gradient is there, finite, and not all zeros."""
    expect(gradient is not None and bool((gradient != 0).any()), message)
    expect(bool(gradient.isfinite().all()), "NaN or infinity in a gradient of ordinary numbers")


def weights_for_each(student, *jobs: tuple[Tensor, int], problems: dict[str, str] | None = None) -> list[Any]:
    """What softmax gives for each (x, dim)."""
    form = list_of([anything, anything], len(jobs))
    return [weights for weights, _ in ask(student, form, drive_softmax, list(jobs), problems=problems)]


def dtypes(student) -> tuple[torch.dtype, ...]:
    """float32, float64, and the short ones in which torch can compute there."""
    halves = (torch.float16,) if ask(student, bool, drive_float16) else ()
    return (torch.float32, torch.float64, torch.bfloat16, *halves)
