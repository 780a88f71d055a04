"""What `partial` asks for: a rotation of the first dimensions of a head. The rotation itself is ours."""

from __future__ import annotations

import random
from functools import partial

import torch
from torch import Tensor

from cs336lite.course.answers import anything, ask, blame, like, same
from cs336lite.course.spec import Fail, check, expect

from .asking import BATCHES, close, turned, vectors


def drive_part(student, x, positions, rotary_dim, factors):
    import torch

    class Rope(torch.nn.Module):
        def forward(self, x, token_positions):
            angles = token_positions[..., None] * 50.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
            first, second = x[..., 0::2], x[..., 1::2]
            cos, sin = angles.cos(), angles.sin()
            return torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(-2)

    leaf = x.clone().requires_grad_(factors is not None)
    given = leaf * 1
    answer = student.rotate_part(Rope(), given, positions, rotary_dim)
    gradient = None
    if factors is not None and isinstance(answer, torch.Tensor) and answer.requires_grad and answer.shape == x.shape:
        (answer * factors).sum().backward()
        gradient = leaf.grad
    return answer.detach() if isinstance(answer, torch.Tensor) else None, given.detach(), gradient


def asked_part(student, x: Tensor, positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The answer, in which something is what rope makes of a part of x, and x after that."""
    answer, after, _ = ask(student, [anything, like(x), type(None)], drive_part, x, positions, size, None)
    expect(isinstance(answer, Tensor), "rotate_part must return a tensor")
    shapes = [(*x.shape[:-1], some) for some in (x.shape[-1], size)]
    expect(answer.shape in shapes, "rotate_part must return a tensor of the shape of x")
    expect(bool(answer.isfinite().all()), "the result holds nan or infinity")
    expect(answer.shape != x.shape or not close(answer, x, 1e-6), "x comes back as it is: nothing is turned")
    expect(not close(answer, torch.zeros_like(answer), 1e-6), "the result is zero")
    expect(holds_a_turn(answer, x, positions, size), "no part of the result is what rope makes of a part of x")
    return answer, after


def heads_and_places(rng: random.Random, d_head: int) -> tuple[Tensor, Tensor]:
    return vectors(rng, 1, 4, 5, d_head), torch.tensor(rng.sample(range(1, 20), 5))


def holds_a_turn(answer: Tensor, x: Tensor, positions: Tensor, size: int) -> bool:
    """Are some dimensions of the answer, side by side, some of the first, of the last or of all of x, turned?"""
    parts = [turned(part, positions) for part in (x[..., :size], x[..., -size:], x)]
    places = range(answer.shape[-1] - size + 1)
    starts = [(part, start) for part in parts for start in range(part.shape[-1] - size + 1)]
    return any(
        close(answer[..., place : place + size], part[..., start : start + size])
        for part, start in starts
        for place in places
    )


def judge_part(x: Tensor, positions: Tensor, answer: Tensor, size: int) -> None:
    """Is the first part turned, and the rest as it was?"""
    dropped = answer.shape == (*x.shape[:-1], size) and size < x.shape[-1]
    expect(not dropped, "the dimensions that are not turned are dropped: put them back behind the others")
    expect(answer.shape == x.shape, "rotate_part must return a tensor of the shape of x")
    part, rest = answer[..., :size], answer[..., size:]
    whole = turned(x, positions)
    if not close(part, turned(x[..., :size], positions)):
        expect(not close(part, whole[..., :size]), "the whole head is given to rope: it is made for rotary_dim")
        expect(
            not close(part, x[..., :size]),
            "the first rotary_dim dimensions are left as they are: turn these, not the last",
        )
        raise Fail("the first rotary_dim dimensions are not what rope makes of them")
    if not same(rest, x[..., size:]):
        expect(not close(rest, whole[..., size:]), "the whole head is turned: leave the rest as it is")
        raise Fail("the dimensions from rotary_dim on must stay as they are, at their places")


@check("partial", points=1, title="the first part is turned, the rest stays as it is", seconds=5)
def the_first_part_is_turned(student, rng):
    x, positions = heads_and_places(rng, 10)
    answer, _ = asked_part(student, x, positions, 4)
    judge_part(x, positions, answer, 4)


@check("partial", points=1, title="the part may be all of the head", seconds=5)
def the_part_may_be_all(student, rng):
    x, positions = heads_and_places(rng, 6)
    problem = "with rotary_dim as large as the head an exception is raised: then nothing is left to put behind"
    with blame(problem, partial(asked_part, student, x, positions, 4)):
        answer, _ = asked_part(student, x, positions, 6)
    expect(close(answer, turned(x, positions)), "with rotary_dim as large as the head, the result must be rope(x)")


@check("partial", points=1, title="any number of dimensions", seconds=5)
def a_part_of_any_batch(student, rng):
    x, positions = heads_and_places(rng, 10)
    known, _ = asked_part(student, x, positions, 4)
    for batch in BATCHES:
        given = x.reshape(*batch, *x.shape[2:]) if batch else x[0, 0]
        with blame(
            "x of two, three, five or six dimensions raises an exception, and of four it does not", lambda: known
        ):
            answer, _ = asked_part(student, given, positions, 4)
        flat = answer.reshape(-1, *known.shape[2:])
        message = "with two, three, five or six dimensions the result is another one than with four"
        expect(close(flat, known[0, : len(flat)]), message)


@check("partial", points=1, title="x stays as it is", seconds=5)
def x_stays_as_it_is(student, rng):
    x, positions = heads_and_places(rng, 10)
    _, after = asked_part(student, x, positions, 4)
    expect(same(after, x), "x is changed in place: put the result into a new tensor")


@check("partial", points=3, title="together: a quarter of each head", seconds=5)
def whole_parts_agree(student, rng):
    x, factors = vectors(rng, 2, 3, 5, 16), vectors(rng, 2, 3, 5, 16)
    positions = torch.tensor([rng.sample(range(1, 20), 5) for _ in range(2)])[:, None]
    form = [anything, like(x), anything]
    answer, _, gradient = ask(student, form, drive_part, x, positions, 4, factors)
    right = torch.cat((turned(x[..., :4], positions), x[..., 4:]), dim=-1)
    message = "together, on ordinary input, this is not the first part turned and the rest behind it: the checks above say why"
    expect(close(answer, right), message)
    back = torch.cat((turned(factors[..., :4], -positions), factors[..., 4:]), dim=-1)
    expect(gradient is not None, "the values are right, and no gradient comes back to x")
    expect(close(gradient, back), "the values are right, and the gradient of x is not")
