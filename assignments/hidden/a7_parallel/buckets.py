"""What `buckets` asks for: means of gradients, in buckets that are each filled and then sent."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from cs336lite.course.answers import either, list_of, same, some_tensor
from cs336lite.course.spec import Fail, check, expect

from .inputs import alike, normal, some_values
from .ranks import MOST, WHY, Played, play


def filled(values: list[Tensor], trained: list[bool], bucket_bytes: int) -> list[list[int]]:
    """The places of the parameters in each bucket, from the last to the first."""
    made: list[list[int]] = []
    room, dtype = -1, None
    for place in reversed([i for i, t in enumerate(trained) if t]):
        x = values[place]
        count = x.numel() * x.element_size()
        if not made or count > room or x.dtype != dtype:
            made.append([])
            room, dtype = bucket_bytes, x.dtype
        made[-1].append(place)
        room -= count
    return made


def average(student, values, grads, bucket_bytes, trained=None, spoilt=None) -> Played:
    """``grads`` are those of each rank."""
    trained = trained or [True] * len(values)
    form = [list_of(either(type(None), some_tensor(MOST)), len(values)), list_of(some_tensor(MOST), len(values))]
    jobs = [[values, one, trained, bucket_bytes] for one in grads]
    return play(student, "buckets", jobs, form, ("AllReduce",), "average_gradients", spoilt)


def some_grads(rng, values: list[Tensor], size: int) -> list[list[Tensor]]:
    return [[normal(rng, *x.shape).to(x.dtype) for x in values] for _ in range(size)]


def expect_means(played: Played, grads: list[list[Any]], values: list[Tensor], otherwise: str, places=None) -> None:
    for rank, (said, _) in enumerate(played.results):
        for place in places if places is not None else range(len(values)):
            x = values[place]
            all_of_it = torch.stack(
                [torch.zeros(x.shape).double() if g[place] is None else g[place].double() for g in grads]
            )
            total, answer = all_of_it.sum(0), said[place]
            expect(answer is not None, "a .grad is None afterwards: it counts as zeros, and is a tensor then")
            tolerance = 2e-2 if x.dtype == torch.bfloat16 else 1e-4
            several = len(grads) > 1
            expect(
                not several or not alike(answer, total, tolerance) or alike(total * 0, total, tolerance),
                "gradients are summed over ranks: data parallelism takes the mean",
            )
            own = grads[rank][place]
            expect(
                not several or own is None or not alike(answer, own),
                "a gradient is this rank's own afterwards: it has not been averaged, or not been written back",
            )
            expect(answer.shape == x.shape, "a gradient has another shape than its parameter afterwards")
            expect(alike(answer, total / len(grads), tolerance), otherwise)


def expect_an_average(student, rng: random.Random) -> None:
    """Two ranks, one parameter."""
    values = [normal(rng, 5)]
    grads = some_grads(rng, values, 2)
    message = "the gradient of a single parameter is not the mean of two ranks"
    expect_means(average(student, values, grads, 1_000), grads, values, message)


LEFT_OUT = "fewer numbers are sent than there are in all gradients: is a bucket left out?"


@check("buckets", points=2, title="what is in a bucket", seconds=10)
def bucket_by_bucket(student, rng):
    expect_an_average(student, rng)
    cases = [((6, 30, 2, 3, 5), 40), ((3, 2, 4, 1), 20), ((3, 2, 4, 1), 16), ((4, 1, 1, 1, 1, 1, 1, 1), 16)]
    for counts, most in cases:
        values = some_values(rng, *counts)
        played = average(student, values, some_grads(rng, values, 2), most)
        sizes = [x[2][0].numel() for x in played.collectives(0)]
        right = [sum(counts[i] for i in bucket) for bucket in filled(values, [True] * len(counts), most)]
        if sizes == right:
            continue
        forward = [sum(counts[i] for i in b) for b in filled(values[::-1], [True] * len(counts), most)]
        turned = [sum(counts[::-1][i] for i in b) for b in filled(values[::-1], [True] * len(counts), most)]
        expect(sum(sizes) <= sum(counts), "more numbers are sent than there are in all gradients")
        expect(sum(sizes) == sum(counts), LEFT_OUT)
        expect(len(sizes) > 1, "all gradients are in one bucket: bucket_bytes is the most that one holds")
        one_each = len(sizes) == len(counts) > len(right)
        expect(not one_each, "each gradient has a bucket of its own: those that fit share one")
        back = sizes in (forward, turned)
        expect(not back, "buckets are filled from the first parameter to the last: the last one comes first")
        numbers = [sum(counts[i] for i in b) for b in filled(values, [True] * len(counts), most * 4)]
        expect(sizes != numbers, "bucket_bytes is taken for a number of numbers: a float32 has four bytes")
        expect(
            all(4 * s <= most or s in counts for s in sizes),
            "a bucket of several gradients holds more than bucket_bytes",
        )
        raise Fail("buckets do not hold what fits, from the last parameter to the first")


@check("buckets", points=1.5, title="gradients that are None", seconds=10)
def none_gradients(student, rng):
    expect_an_average(student, rng)
    values = some_values(rng, 3, 4, 2)
    grads = some_grads(rng, values, 3)
    grads[0][1] = grads[2][1] = grads[1][0] = None
    message = "the mean is wrong where a rank has no gradient: None counts as zeros, and all ranks are counted"
    try:
        played = average(student, values, grads, 1_000)
    except Fail as problem:
        if "differ between ranks" in str(problem) or "while others wait" in str(problem):
            raise Fail("a gradient that is None is left out: other ranks may have one, so it counts as zeros") from None
        raise
    expect_means(played, grads, values, message)
    for one in grads:
        one[2] = None
    expect_means(average(student, values, grads, 1_000), grads, values, message)


@check("buckets", points=1.5, title="gradients of two dtypes", seconds=10)
def two_dtypes(student, rng):
    expect_an_average(student, rng)
    values = [normal(rng, 3), normal(rng, 4).bfloat16(), normal(rng, 2).bfloat16(), normal(rng, 5)]
    grads = some_grads(rng, values, 2)
    played = average(student, values, grads, 1_000)
    kinds = [x[2][0].dtype for x in played.collectives(0)]
    expect(sum(x[2][0].numel() for x in played.collectives(0)) >= 14, LEFT_OUT)
    message = "gradients of different dtypes share a bucket: a gradient of another dtype begins the next one"
    expect(torch.bfloat16 in kinds and torch.float32 in kinds, message)
    count = sum(x[2][0].numel() * x[2][0].element_size() for x in played.collectives(0))
    expect(count <= 4 * 8 + 2 * 6, "gradients of two dtypes are sent in more bytes than they have")
    expect_means(played, grads, values, "the mean is wrong where gradients have two dtypes")
    for said, _ in played.results:
        right = all(g is not None and g.dtype == x.dtype for g, x in zip(said, values, strict=True))
        expect(right, "a gradient has another dtype than its parameter afterwards")
    rows = []
    for values in ([normal(rng, 2) for _ in range(3)], [normal(rng, 4).bfloat16() for _ in range(3)]):
        played = average(student, values, some_grads(rng, values, 2), 16)
        rows.append([x[2][0].numel() * x[2][0].element_size() for x in played.collectives(0)])
    message = "as many bytes of bfloat16 fill other buckets than of float32: count element_size() for each number"
    expect(rows[0] == rows[1], message)


@check("buckets", points=1, title="what is left alone, and one rank", seconds=10)
def left_alone(student, rng):
    expect_an_average(student, rng)
    values = some_values(rng, 3, 4, 2)
    grads = some_grads(rng, values, 2)
    for one in grads:
        one[1] = None
    played = average(student, values, grads, 1_000, [True, False, True])
    expect_means(played, grads, values, "the mean is wrong beside a parameter with requires_grad=False", [0, 2])
    for said, after in played.results:
        expect(said[1] is None, "a parameter with requires_grad=False gets a gradient: it is left out")
        unchanged = all(same(a, b) for a, b in zip(after, values, strict=True))
        expect(unchanged, "the parameters themselves have changed: their gradients are averaged, no more")
    alone = some_grads(rng, values, 1)
    expect_means(average(student, values, alone, 16), alone, values, "one rank alone does not keep its gradients")


@check("buckets", points=15, title="together: the mean of all gradients, packed", seconds=20)
def buckets_together(student, rng):
    for size in (2, rng.choice([3, 4])):
        shapes = [(4, 3), (4,), (rng.randint(2, 5), 4), (3, 3), (rng.randint(2, 6),), (2, 2, 2)]
        values = [normal(rng, *shape) for shape in shapes]
        grads = some_grads(rng, values, size)
        played = average(student, values, grads, 120)
        message = f"together: a gradient is not the mean over ranks; {WHY}"
        expect_means(played, grads, values, message)
        asked = played.collectives(0)
        most = len(filled(values, [True] * len(values), 120))
        expect(len(asked) <= most, "together: there are more all-reduces than buckets: gradients that fit share one")
        count = sum(one[2][0].numel() for one in asked)
        expect(
            count <= sum(x.numel() for x in values), "together: more numbers are sent than there are in all gradients"
        )
        changed = average(student, values, grads, 120, spoilt=size - 1).results[size - 1][0]
        kept = all(g is not None and alike(g, h) for g, h in zip(changed, played.results[size - 1][0], strict=True))
        expect(not kept, "together: the gradients do not depend on what an all-reduce gives")
