"""What `zero` asks for: an optimizer of which each rank keeps a shard, with the steps of one that is whole."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

from cs336lite.course.answers import either, list_of, same, some_tensor
from cs336lite.course.spec import Fail, check, expect

from .inputs import alike, ceil, normal, some_values
from .ranks import MOST, WHY, Played, play


def zero(student, kind, values, steps, spoilt=None) -> Played:
    """``steps[rank]`` are the gradients of each step."""
    tensors = list_of(some_tensor(MOST), len(values))
    form = [list_of(tensors, len(steps[0])), list_of(list_of(int, least=0), least=0, most=20)]
    form = [*form, list_of(either(type(None), some_tensor(MOST)), len(values))]
    form = [*form, list_of([int, int], least=0, most=20)]
    jobs = [[kind, values, one] for one in steps]
    return play(student, "zero", jobs, form, ("ReduceScatter", "AllGather"), "step", spoilt)


def unsharded(kind: str, values: list[Tensor], steps: list[list[list[Tensor]]], scale: float) -> list[list[Tensor]]:
    """All parameters after each step, by one optimizer of all, from ``scale`` times the summed gradients."""
    parameters = [nn.Parameter(x.double()) for x in values]
    optimizer = (
        torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
        if kind == "sgd"
        else torch.optim.AdamW(parameters, lr=0.1, eps=0.01, weight_decay=0.1)
    )
    after = []
    for number in range(len(steps[0])):
        for place, parameter in enumerate(parameters):
            parameter.grad = scale * torch.stack([one[number][place].double() for one in steps]).sum(0)
        optimizer.step()
        after.append([p.detach().clone() for p in parameters])
    return after


def all_steps(rng, values, size: int, count: int) -> list[list[list[Tensor]]]:
    return [[[normal(rng, *x.shape) for x in values] for _ in range(count)] for _ in range(size)]


def whole(tensors: list[Tensor]) -> Tensor:
    return torch.cat([x.double().flatten() for x in tensors])


def expect_updated(played: Played, kind: str, values, steps, otherwise: str) -> None:
    size = len(steps)
    right = unsharded(kind, values, steps, 1 / size)
    summed = unsharded(kind, values, steps, 1.0)
    for rank, (after, *_) in enumerate(played.results):
        for number, said in enumerate(after):
            expect(
                all(a.shape == x.shape for a, x in zip(said, values, strict=True)),
                "a parameter has another shape after a step",
            )
            expect(
                not alike(whole(said), whole(values)),
                "a step leaves the parameters as they were: is it done, and copied into them?",
            )
            if alike(whole(said), whole(right[number])):
                continue
            expect(
                size == 1 or not alike(whole(said), whole(summed[number])),
                "the update takes the sum of gradients over ranks: divide by world_size",
            )
            own = unsharded(kind, values, [steps[rank]], 1.0)
            expect(
                not alike(whole(said), whole(own[number])),
                "the update takes this rank's gradients alone: they are reduced",
            )
            expect_parts(whole(said), whole(right[number]), whole(values), size)
            expect(number == 0, "the first step is right, and a later one is not: is the optimizer's state kept?")
            raise Fail(otherwise)


def expect_parts(said: Tensor, right: Tensor, before: Tensor, size: int) -> None:
    """Name an update of some parts alone, or parts in another order."""
    cut = lambda x: x.tensor_split(size)  # noqa: E731
    done = [alike(a, b) for a, b in zip(cut(said), cut(right), strict=True)]
    kept = [alike(a, b) for a, b in zip(cut(said), cut(before), strict=True)]
    if size > 1 and sum(done) == 1 and sum(kept) == size - 1:
        raise Fail("only this rank's shard is updated: the others come by an all-gather")
    parts = [(a, any(alike(a, b) for b in cut(right))) for a in cut(said)]
    expect(
        size == 1 or all(done) or not all(there for _, there in parts),
        "the shards stand in another order than that of the ranks",
    )


def expect_a_step(student, rng: random.Random) -> None:
    """One step of SGD, two ranks, one parameter."""
    values = some_values(rng, 4)
    steps = all_steps(rng, values, 2, 1)
    message = "one step of SGD on two ranks is not that of one optimizer with the mean gradients"
    expect_updated(zero(student, "sgd", values, steps), "sgd", values, steps, message)


def expect_shards(played: Played, n: int, size: int) -> None:
    for _, sizes, *_ in played.results:
        most = max(map(sum, sizes), default=0)
        message = "the optimizer is given more than this rank's shard"
        expect(size == 1 or most < n, f"{message}, so its state is as large as without ZeRO")
        expect(most <= ceil(n, size), f"{message} of n / world_size numbers, rounded up")


@check("zero", points=2, title="the shards, and what is sent", seconds=10)
def sharded_state(student, rng):
    expect_a_step(student, rng)
    values = some_values(rng, 6, 3, 3)
    played = zero(student, "adamw", values, all_steps(rng, values, 3, 2))
    expect_shards(played, 12, 3)
    for rank, (_, sizes, *_) in enumerate(played.results):
        expect(
            len(sizes) == 1, "make_optimizer is called more than once: its optimizer keeps its state from step to step"
        )
        expect(len(sizes[0]) == 1, "make_optimizer is given several parameters: the shard is one flat parameter")
        asked = played.collectives(rank)
        kinds = [one[0] for one in asked]
        expect(kinds == ["ReduceScatter", "AllGather"] * 2, "a step is not one ReduceScatter, then one AllGather")
        for kind, _, tensors in asked:
            count = sum(x.numel() for x in tensors)
            message = "more is sent than all gradients in a ReduceScatter and one shard in an AllGather"
            expect(count <= (12 if kind == "ReduceScatter" else 4), message)


@check("zero", points=1.5, title="numbers that the ranks do not divide", seconds=15)
def uneven_shards(student, rng):
    expect_a_step(student, rng)
    for size, counts in ((3, (5, 2, 1)), (2, (3, 4)), (4, (2, 1))):
        values = some_values(rng, *counts)
        steps = all_steps(rng, values, size, 2)
        played = zero(student, "sgd", values, steps)
        message = "parameters are wrong where the ranks do not divide the number of numbers"
        expect_updated(played, "sgd", values, steps, message)
        expect_shards(played, sum(counts), size)


@check("zero", points=1, title="one rank", seconds=10)
def one_rank(student, rng):
    expect_a_step(student, rng)
    values = some_values(rng, 4, 3)
    steps = all_steps(rng, values, 1, 3)
    expect_updated(
        zero(student, "adamw", values, steps), "adamw", values, steps, "one rank alone does not do plain steps"
    )


@check("zero", points=1, title="gradients stay as they are", seconds=10)
def gradients_stay(student, rng):
    expect_a_step(student, rng)
    values = some_values(rng, 4, 4)
    steps = all_steps(rng, values, 2, 1)
    played = zero(student, "sgd", values, steps)
    for one, (_, _, grads, _) in zip(steps, played.results, strict=True):
        expect(all(g is not None for g in grads), "gradients are None after a step: they stay as they are")
        kept = all(same(a, b) for a, b in zip(grads, one[0], strict=True))
        expect(kept, "gradients have changed after a step: they stay as they are")


@check("zero", points=1, title="what the shard keeps in memory", seconds=10)
def shard_in_memory(student, rng):
    expect_a_step(student, rng)
    values = some_values(rng, 40, 24, 8)
    for *_, kept in zero(student, "sgd", values, all_steps(rng, values, 4, 1)).results:
        message = "the shard is a view into memory that is far larger and none of the parameters': all of it is kept"
        expect(all(there <= 2 * used for there, used in kept), f"{message}; a clone keeps its part alone")


@check("zero", points=15.5, title="together: several steps of SGD and AdamW", seconds=20)
def zero_together(student, rng):
    for kind, size in (("sgd", 2), ("adamw", rng.choice([3, 4]))):
        shapes = [(size, 3), (size,), (2, size), (2 * size,)]
        values = [normal(rng, *shape) for shape in shapes]
        steps = all_steps(rng, values, size, 3)
        played = zero(student, kind, values, steps)
        message = f"together: parameters are not those of one optimizer with the mean gradients; {WHY}"
        expect_updated(played, kind, values, steps, message)
        expect_shards(played, 8 * size, size)
        changed = zero(student, kind, values, steps, spoilt=1).results[1][0][-1]
        message = "together: the parameters do not depend on what an all-gather gives"
        expect(not alike(whole(changed), whole(played.results[1][0][-1])), message)
