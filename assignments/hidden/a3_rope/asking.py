"""Asking for what an embedding makes of vectors at positions, and judging it as a whole, with its gradient."""

from __future__ import annotations

import random
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from cs336lite.course import answers as given
from cs336lite.course.answers import ORDINARY, anything, ask, blame, fits, like, list_of
from cs336lite.course.spec import expect

from .drivers import drive_rope

SHORT = 32
LIMIT = "the rotation at one position depends on max_seq_len, which is only a limit"


@dataclass(frozen=True)
class Setting:
    """The arguments of an embedding."""

    theta: float
    d_k: int
    max_seq_len: int

    @property
    def arguments(self) -> tuple[float, int, int]:
        return self.theta, self.d_k, self.max_seq_len

    @property
    def speeds(self) -> Tensor:
        """The angle of each pair at position 1, in float64."""
        return self.theta ** (-torch.arange(0, self.d_k, 2, dtype=torch.float64) / self.d_k)


def some_setting(rng: random.Random, max_seq_len: int, sizes: tuple[int, ...] = (6, 8, 10)) -> Setting:
    """A base so small that even the slowest pair turns visibly within a few positions."""
    return Setting(round(rng.uniform(20, 60), 2), rng.choice(sizes), max_seq_len)


def vectors(rng: random.Random, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(rng.getrandbits(48)))


def close(a: Tensor, b: Tensor, tolerance: float = 1e-3) -> bool:
    """Are two tensors of the same shape nearly equal? Never where one is not a number."""
    return given.close(a, b, tolerance)


Call = tuple[Tensor, Tensor]


def expect_turned(x: Tensor, answer: object) -> Tensor:
    """The answer, when it can be one to an x of which not all positions are 0."""
    expect(answer is not None, "forward returns no tensor: is a return missing?")
    expect(isinstance(answer, Tensor), "forward must return a tensor")
    expect(answer.shape == x.shape, "forward must return a tensor of the shape of x")
    expect(answer.is_floating_point(), "forward must return floating-point numbers, as x holds")
    answer = answer.detach()
    wide = answer.double()
    expect(bool(wide.isfinite().all()), "the result holds nan or infinity")
    message = "x comes back as it is: nothing is turned, though its position is not 0"
    expect(bool((wide - x.double()).abs().max() > 1e-6), message)
    expect(bool(wide.abs().max() > 1e-6), "the result is zero")
    return answer


KNOWN = {*ORDINARY, "IndexError", "KeyError"}  # exceptions that a message may name
Layout = str | None


def job(setting: Setting, calls: list, layout: Layout = None) -> tuple:
    return setting.arguments, {"layout": layout} if layout else {}, calls


def rotated(
    student, setting: Setting, calls: list[Call], layout: Layout = None, problem: str = "", forms: str = ""
) -> list[Tensor]:
    """The answers to some (x, positions) that are in order, in any of the ``forms`` of `drive_rope`.

    Where the calls raise an exception, and the same do not with float32 at the positions 0, 1, 2, …, ``problem`` is said of
    it. A check that has one judges the form, so calls are made as they are, unless it says otherwise.
    """

    def plain() -> None:
        same = [(x.float(), torch.arange(x.shape[-2])) for x, _ in calls]
        ask(student, anything, drive_rope, [job(setting, same, layout)], "", "full")

    told = blame(problem, plain) if problem else nullcontext()
    forms = forms or ("as they are" if problem else "any")
    with told:
        form = [list_of(anything, len(calls))]
        (answers,) = ask(student, form, drive_rope, [job(setting, calls, layout)], "", forms)
    return [expect_turned(x, answer) for (x, _), answer in zip(calls, answers, strict=True)]


def answers_plainly(student, setting: Setting) -> bool:
    """Does a call raise nothing that needs nothing but the class and its forward? Raises what it raises."""
    calls = [(torch.ones(3, setting.d_k), torch.arange(3))]
    ask(student, [list_of(anything, 1)], drive_rope, [job(setting, calls)], "", "as they are")
    return True


def right_turn(setting: Setting, x: Tensor, positions: Tensor, layout: Layout = None) -> Tensor:
    """What x becomes by the formula, in float64; with minus the positions, the gradient of that."""
    angles = positions[..., None] * setting.speeds
    cos, sin = angles.cos(), angles.sin()
    first, second = x.double().chunk(2, dim=-1) if layout == "half" else (x[..., 0::2].double(), x[..., 1::2].double())
    pair = first * cos - second * sin, first * sin + second * cos
    return torch.cat(pair, dim=-1) if layout == "half" else torch.stack(pair, dim=-1).flatten(-2)


TOGETHER = "together, on ordinary input, this does not give the rotation of the formula yet"
WHY = "the other checks of exercises 1 to 5 say why; where none of them does, work out a few numbers by hand"
NO_GRADIENT = "no gradient comes back to x: is forward without gradients (no_grad, detach, data, numpy)? A model cannot learn through it"


def with_gradient(
    student, setting: Setting, x: Tensor, positions: Tensor, weights: Tensor, layout: Layout = None, forms="full"
):
    """The answer to x, and the gradient at x of its sum weighed by ``weights``."""
    asked = [job(setting, [(x, positions, weights)], layout)]
    (((answer, gradient),),) = ask(student, [[[anything, anything]]], drive_rope, asked, "", forms)
    answer = expect_turned(x, answer)
    expect(gradient is not None, NO_GRADIENT)
    return answer, fits(gradient, like(x), "the gradient")


def judge_together(student, rng: random.Random, setting: Setting, asked: list[tuple], layout: Layout = None) -> None:
    """Are x of some shapes at some positions turned by the formula, and their gradients back again?

    A table that is rounded is told elsewhere; here it would hide what is right.
    """
    for shape, positions in asked:
        x, weights = vectors(rng, *shape, setting.d_k), vectors(rng, *shape, setting.d_k)
        answer, gradient = with_gradient(student, setting, x, positions, weights, layout)
        expect(close(answer, right_turn(setting, x, positions, layout), ROUNDED), f"{TOGETHER}: {WHY}")
        back = right_turn(setting, weights, -positions, layout)
        expect(
            close(gradient, back, ROUNDED),
            "together the values are right, and the gradient that comes back to x is not",
        )


ROUNDED = 0.15  # what bfloat16 in cosines, or in angles below 16, makes of numbers up to 4 or 5


def turned(x: Tensor, positions: Tensor) -> Tensor:
    """A rotation like the student's, with theta 50."""
    angles = positions[..., None] * 50.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
    first, second = x[..., 0::2], x[..., 1::2]
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(-2)


BATCHES = [(), (4,), (2, 1, 2), (1, 2, 2, 1)]  # the four of (1, 4), or the first of them, in other shapes
