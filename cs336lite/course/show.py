"""What was expected and what came: for public checks, which have no secrets.

    expect_equal(pieces, ["We", "'ll"], "the pieces are not those that PATTERN finds")
    expect_close(softmax(x), torch.tensor([0.5, 0.5]), "a row adds up to 1")

A hidden check must not say this: what was expected is its secret, and what came may carry it.
"""

from __future__ import annotations

import reprlib
from typing import Any

from cs336lite.course.border import plain
from cs336lite.course.spec import Fail

__all__ = ["expect_close", "expect_equal", "shown"]

MOST = 110  # letters of a value that is shown
AROUND = 3  # parts of a list that are shown on each side of the first difference


def expect_equal(got: Any, wanted: Any, message: str) -> None:
    """Fail the running check unless two values are equal and of one kind; the text says where they differ."""
    if not equal(got, wanted):
        raise Fail(f"{message}: {difference(got, wanted)}")


def expect_close(got: Any, wanted: Any, message: str, tolerance: float = 1e-5) -> None:
    """Fail the running check unless two tensors, or numbers, have one shape and nearly the same numbers."""
    import torch

    found = torch.as_tensor(got) if isinstance(got, (bool, int, float)) else got
    wanted = torch.as_tensor(wanted)
    if not isinstance(found, torch.Tensor):
        raise Fail(f"{message}: expected {shown(wanted)}, got {shown(got)}")
    if found.shape != wanted.shape:
        raise Fail(f"{message}: expected the shape {tuple(wanted.shape)}, got {tuple(found.shape)}")
    a, b = found.detach().double(), wanted.detach().double()
    near = (a == b) | ((a - b).abs() <= tolerance)
    if not bool(near.all()):
        raise Fail(f"{message}: {first_difference(found, wanted, ~near)}")


def equal(got: Any, wanted: Any) -> bool:
    import torch

    if isinstance(wanted, torch.Tensor):
        alike = isinstance(got, torch.Tensor) and got.shape == wanted.shape and got.dtype == wanted.dtype
        return alike and torch.equal(got, wanted)
    if type(got) is not type(wanted):
        return False
    if isinstance(wanted, (list, tuple)):
        return len(got) == len(wanted) and all(map(equal, got, wanted))
    if isinstance(wanted, dict):
        return got.keys() == wanted.keys() and all(equal(got[key], wanted[key]) for key in wanted)
    return bool(got == wanted)


def difference(got: Any, wanted: Any) -> str:
    """Where and how two values differ, in a few words."""
    import torch

    if isinstance(wanted, torch.Tensor) and isinstance(got, torch.Tensor):
        if got.shape != wanted.shape:
            return f"expected the shape {tuple(wanted.shape)}, got {tuple(got.shape)}"
        if got.dtype != wanted.dtype:
            return f"expected {shown(wanted.dtype)}, got {shown(got.dtype)}"
        return first_difference(got, wanted, got != wanted)
    whole = f"expected {shown(wanted)}, got {shown(got)}"
    if type(got) is not type(wanted) or not isinstance(wanted, (list, tuple)) or CUT not in whole:
        return whole
    place = next((i for i, (a, b) in enumerate(zip(got, wanted)) if not equal(a, b)), min(len(got), len(wanted)))
    if len(got) != len(wanted) and place == min(len(got), len(wanted)):
        return f"expected {len(wanted)} parts, got {len(got)}"
    return f"at place {place} expected {around(wanted, place)}, got {around(got, place)}"


def around(parts: Any, place: int) -> str:
    """What stands near a place of a long list."""
    first, last = max(0, place - AROUND), place + AROUND + 1
    inner = shown(list(parts[first:last]))[1:-1]
    return f"[{f'{CUT}, ' * (first > 0)}{inner}{f', {CUT}' * (last < len(parts))}]"


def first_difference(got: Any, wanted: Any, where: Any) -> str:
    if got.numel() <= 8:
        return f"expected {numbers(wanted)}, got {numbers(got)}"
    place = tuple(where.nonzero()[0].tolist())
    return f"at [{', '.join(map(str, place))}] expected {number(wanted[place])}, got {number(got[place])}"


def numbers(tensor: Any) -> str:
    """The numbers of a small tensor."""
    if tensor.dim() == 0:
        return number(tensor)
    return f"[{', '.join(map(numbers, tensor))}]"


def number(value: Any) -> str:
    value = value.item()
    return f"{value:.5g}" if isinstance(value, float) else str(value)


CUT = "..."


class Short(reprlib.Repr):
    """`repr` with a bound on everything, and tensors in few words."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxset = self.maxdict = 14
        self.maxstring = self.maxother = 60
        self.maxlevel = 4

    def repr1(self, value: Any, level: int) -> str:
        import torch

        if isinstance(value, torch.Tensor):
            said = f"a tensor of shape {tuple(value.shape)} and {self.repr1(value.dtype, level)}"
            return f"{said}: {numbers(value.detach())}" if value.numel() <= 8 else said
        if isinstance(value, torch.dtype):
            return str(value).removeprefix("torch.")
        try:
            return super().repr1(value, level)
        except Exception:  # a class of the student's may have a __repr__ that raises
            return f"a {type(value).__name__}"


def shown(value: Any, limit: int = MOST) -> str:
    """A value as Python writes it, on one line and of at most ``limit`` letters."""
    text = plain(Short().repr(value), 4 * limit)
    return text if len(text) <= limit else f"{text[: limit - 1 - len(CUT)]}{CUT}{text[-1]}"
