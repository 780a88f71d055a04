"""What `tensor` asks for: weights cut in parts, and layers there and back with few collectives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cs336lite.course.answers import ask, either, list_of, same, some_tensor
from cs336lite.course.spec import Fail, check, expect

from .inputs import alike, normal
from .ranks import MOST, Played, play


def drive_shards(student, cases):
    """Each part, and the weight after its part has been filled."""
    said = []
    for weight, world_size, dim in cases:
        for rank in range(world_size):
            part = student.shard(weight, rank, world_size, dim)
            first = part.clone()
            part.fill_(55)
            said.append([first, weight.clone()])
    return said


def cut(weight: Tensor, size: int, dim: int) -> list[Tensor]:
    return [part.clone() for part in weight.tensor_split(size, dim)]


def layer(student, function: str, given: list[list[Tensor]], count: int, spoilt=None) -> Played:
    """``given[rank]`` are the tensors of a rank."""
    form = [list_of(either(type(None), some_tensor(MOST)), least=1, most=5), list_of(some_tensor(MOST), len(given[0]))]
    played = play(student, "tensor", [[function, *one] for one in given], form, ("AllReduce",), function, spoilt)
    for said, _ in played.results:
        values = (
            f"{function} does not return {count} tensors" if count > 1 else f"{function} does not return one tensor"
        )
        expect(len(said) == count and all(x is not None for x in said), values)
    return played


@dataclass
class Layer:
    """One layer, uncut, in float64: what goes in, what comes out, and what it learns; by autograd."""

    inputs: list[Tensor]
    output: Tensor
    grad_y: Tensor
    grads: list[Tensor]


def differentiated(rng, function, *inputs: Tensor) -> Layer:
    given = [x.double().requires_grad_() for x in inputs]
    output = function(*given)
    grad_y = normal(rng, *output.shape)
    grads = torch.autograd.grad(output, given, grad_y.double())
    return Layer(list(inputs), output.detach(), grad_y, list(grads))


def linear(x, weight):
    return x @ weight.T


def relu_squared(x, w1, w2):
    return (x @ w1.T).relu().square() @ w2.T


def expect_value(answer: Tensor, right: Tensor, parts: list[Tensor] | None, rank: int, name: str, size: int) -> None:
    """``parts``, of a sum over ranks: what each alone would give."""
    if alike(answer, right):
        return
    if parts is not None:
        expect(not alike(answer, parts[rank]), f"{name} is this rank's share of a sum alone: an all-reduce is missing")
        expect(not alike(answer, right / size), f"{name} is a mean over ranks: the shares of a sum are added")
    expect(answer.shape == right.shape, f"{name} has not the shape that the table says")
    expect(not alike(answer, right * size), f"{name} is added over ranks, though it was complete before")
    raise Fail(f"{name} is wrong")


def expect_calls(played: Played, function: str, most: int) -> None:
    for rank in range(len(played.results)):
        count = len(played.collectives(rank))
        expect(most > 0 or count == 0, f"{function} asks for an all-reduce, though all that it needs is at hand")
        expect(count <= most, f"{function} asks for more than one all-reduce")


def judge_column(student, rng, size: int, rows: tuple[int, ...], d_in: int, d_out: int) -> None:
    one = differentiated(rng, linear, normal(rng, *rows, d_in), normal(rng, d_out, d_in))
    x, weights, gs = one.inputs[0], cut(one.inputs[1], size, 0), cut(one.grad_y, size, -1)
    played = layer(student, "column_forward", [[x, w] for w in weights], 1)
    for rank, (said, _) in enumerate(played.results):
        expect_value(said[0], cut(one.output, size, -1)[rank], None, rank, "y of column_forward", size)
    expect_calls(played, "column_forward", 0)
    played = layer(student, "column_backward", [[x, w, g] for w, g in zip(weights, gs, strict=True)], 2)
    shares = [g.double() @ w.double() for w, g in zip(weights, gs, strict=True)]
    for rank, (said, _) in enumerate(played.results):
        expect_value(said[0], one.grads[0], shares, rank, "grad_x of column_backward", size)
        expect_value(said[1], cut(one.grads[1], size, 0)[rank], None, rank, "grad_weight of column_backward", size)
    expect_calls(played, "column_backward", 1)


def judge_row(student, rng, size: int, rows: tuple[int, ...], d_in: int, d_out: int) -> None:
    one = differentiated(rng, linear, normal(rng, *rows, d_in), normal(rng, d_out, d_in))
    xs, weights = cut(one.inputs[0], size, -1), cut(one.inputs[1], size, 1)
    played = layer(student, "row_forward", [[x, w] for x, w in zip(xs, weights, strict=True)], 1)
    shares = [x.double() @ w.double().T for x, w in zip(xs, weights, strict=True)]
    for rank, (said, _) in enumerate(played.results):
        expect_value(said[0], one.output, shares, rank, "y of row_forward", size)
    expect_calls(played, "row_forward", 1)
    played = layer(student, "row_backward", [[x, w, one.grad_y] for x, w in zip(xs, weights, strict=True)], 2)
    for rank, (said, _) in enumerate(played.results):
        expect_value(said[0], cut(one.grads[0], size, -1)[rank], None, rank, "grad_x of row_backward", size)
        expect_value(said[1], cut(one.grads[1], size, 1)[rank], None, rank, "grad_weight of row_backward", size)
    expect_calls(played, "row_backward", 0)


def judge_feed_forward(student, rng, size: int, rows: tuple[int, ...], d: int, d_ff: int) -> None:
    one = differentiated(rng, relu_squared, normal(rng, *rows, d), normal(rng, d_ff, d), normal(rng, d, d_ff))
    x, w1s, w2s = one.inputs[0], cut(one.inputs[1], size, 0), cut(one.inputs[2], size, 1)
    pairs = list(zip(w1s, w2s, strict=True))
    played = layer(student, "feed_forward", [[x, *pair] for pair in pairs], 1)
    shares = [relu_squared(x.double(), a.double(), b.double()) for a, b in pairs]
    plain = (x.double() @ one.inputs[1].double().T).relu() @ one.inputs[2].double().T
    for rank, (said, _) in enumerate(played.results):
        expect(not alike(said[0], plain), "y of feed_forward lacks the square of the relu")
        expect_value(said[0], one.output, shares, rank, "y of feed_forward", size)
    expect_calls(played, "feed_forward", 1)
    given = [[x, *pair, one.grad_y] for pair in pairs]
    played = layer(student, "feed_forward_backward", given, 3)
    right_w1, right_w2 = cut(one.grads[1], size, 0), cut(one.grads[2], size, 1)
    for rank, (said, after) in enumerate(played.results):
        name = "of feed_forward_backward"
        share = torch.autograd.grad(
            relu_squared(again := x.double().requires_grad_(), *(w.double() for w in pairs[rank])),
            again,
            one.grad_y.double(),
        )[0]
        expect(not alike(said[0], one.grads[0] / 2), f"grad_x {name} lacks the factor 2 of the square")
        expect_value(said[0], one.grads[0], [share] * size, rank, f"grad_x {name}", size)
        expect_value(said[1], right_w1[rank], None, rank, f"grad_w1 {name}", size)
        expect_value(said[2], right_w2[rank], None, rank, f"grad_w2 {name}", size)
        kept = all(same(a, b) for a, b in zip(after, given[rank], strict=True))
        expect(kept, "feed_forward_backward changes what it is given: weights and activations stay as they are")
    expect_calls(played, "feed_forward_backward", 1)


@check("tensor", points=1.5, title="cutting a weight", seconds=10)
def cutting(student, rng):
    cases = [
        [normal(rng, 6, 4), 2, 0],
        [normal(rng, 6, 4), 2, 1],
        [normal(rng, 7, 3), 3, 0],
        [normal(rng, 2, 11), 4, 1],
    ]
    said = ask(student, list_of([some_tensor(MOST)] * 2, 11), drive_shards, cases)
    number = 0
    for weight, size, dim in cases:
        parts = cut(weight, size, dim)
        for rank in range(size):
            first, after = said[number]
            number += 1
            other = cut(weight, size, 1 - dim)
            expect(not alike(first, other[rank]), "shard cuts along the other dimension than dim")
            turned = alike(first, parts[size - 1 - rank]) and not alike(first, parts[rank])
            expect(not turned, "shard counts the parts from the end: rank 0 has the first one")
            expect(
                weight.shape[dim] % size == 0 or first.shape == parts[rank].shape,
                "parts of 7 rows on 3 ranks are not 3, 2, 2: sizes differ by at most one, and larger ones come first",
            )
            expect(alike(first, parts[rank]), "shard does not give the parts in the order of ranks")
            expect(same(after, weight), "a part shares memory with the weight: training it would change the weight")


@check("tensor", points=2, title="a column-parallel layer", seconds=10)
def column_parallel(student, rng):
    judge_column(student, rng, 2, (3,), 4, 6)


@check("tensor", points=2, title="a row-parallel layer", seconds=10)
def row_parallel(student, rng):
    judge_row(student, rng, 2, (3,), 4, 6)


@check("tensor", points=1, title="a feed-forward", seconds=10)
def whole_feed_forward(student, rng):
    judge_feed_forward(student, rng, 2, (3,), 4, 6)


@check("tensor", points=1, title="uneven parts, one rank", seconds=15)
def uneven_parts(student, rng):
    for size, d, d_ff in ((3, 4, 8), (1, 4, 5)):
        judge_column(student, rng, size, (2,), d, d_ff)
        judge_row(student, rng, size, (2,), d_ff, d)
        judge_feed_forward(student, rng, size, (2,), d, d_ff)


@check("tensor", points=17.5, title="together: layers and feed-forward, there and back", seconds=20)
def tensor_together(student, rng):
    for size in (2, 4):
        rows = (rng.randint(2, 3), rng.randint(2, 4))
        d, d_ff = rng.randint(3, 5), size * rng.randint(2, 3)
        judge_column(student, rng, size, rows, d, d_ff)
        judge_row(student, rng, size, rows, d_ff, d)
        judge_feed_forward(student, rng, size, rows, d, d_ff)
    w1, w2, x = normal(rng, 4, 3), normal(rng, 3, 4), normal(rng, 2, 2, 3)
    given = [[x, *pair] for pair in zip(cut(w1, 2, 0), cut(w2, 2, 1), strict=True)]
    first, changed = (layer(student, "feed_forward", given, 1, spoilt).results[1][0][0] for spoilt in (None, 1))
    expect(not alike(first, changed), "together: the output does not depend on what the other rank says")
