"""What `ring` asks for: sums over ranks, from messages to the next rank alone, of few bytes."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from cs336lite.course.answers import same, some_tensor
from cs336lite.course.spec import check, expect

from .inputs import alike, ceil, generator, normal
from .ranks import MOST, WHY, Played, play


def ring(student, xs: list[Tensor], spoilt: int | None = None) -> Played:
    form = [some_tensor(MOST)] * 3
    return play(student, "ring", [[x] for x in xs], form, ("Send", "Receive"), "ring_all_reduce", spoilt)


def judge_ring(student, xs: list[Tensor], otherwise: str) -> Played:
    """Play, and look at the results alone."""
    played, right = ring(student, xs), torch.stack([x.double() for x in xs]).sum(0)
    for rank, (result, _, _) in enumerate(played.results):
        expect(result.shape == right.shape or result.numel() != right.numel(), "the result has another shape than x")
        many = len(xs) > 1 and right.numel() > 0
        expect(not many or not alike(result, xs[rank]), "the result is this rank's own x: nothing has been added")
        expect(not many or not alike(result, right / len(xs)), "the result is the mean over ranks: an all-reduce adds")
        expect(alike(result, right, 2e-2 if xs[0].dtype == torch.bfloat16 else 1e-4), otherwise)
    return played


def expect_a_ring(student, rng: random.Random) -> None:
    message = "of two ranks with two numbers each, the result is not the sum on both"
    judge_ring(student, [normal(rng, 2) for _ in range(2)], message)


def expect_few_bytes(played: Played, n: int, size: int) -> None:
    most = 2 * (size - 1) * ceil(n, size)
    for rank in range(size):
        count = sum(one[2][0].numel() for one in played.sends(rank))
        expect(
            count <= most, "a rank sends more than 2 (p - 1) chunks of n / p numbers: send one chunk in a step, not all"
        )


@check("ring", points=1.5, title="what is sent, and to whom", seconds=10)
def neighbours(student, rng):
    expect_a_ring(student, rng)
    size, part = rng.choice([3, 4]), rng.randint(3, 5)
    played = ring(student, [normal(rng, size * part) for _ in range(size)])
    for rank in range(size):
        sends = played.sends(rank)
        expect(len(sends) <= 2 * (size - 1), "a rank sends more than 2 (p - 1) messages")
        back = size > 2 and all(to == (rank - 1) % size for _, to, _ in sends)
        expect(not back, "a rank sends to the one before it: the ring goes to (rank + 1) % world_size")
        expect(
            all(to == (rank + 1) % size for _, to, _ in sends), "a rank sends to others than (rank + 1) % world_size"
        )
        expect(
            all(x[0].numel() <= part for _, _, x in sends),
            "a message holds more than a chunk of n / p numbers, rounded up",
        )


@check("ring", points=2, title="sizes that cannot be cut evenly", seconds=15)
def uneven_chunks(student, rng):
    expect_a_ring(student, rng)
    for size, n in ((3, 3 * rng.randint(2, 4) + 1), (4, 4 * rng.randint(1, 3) + 3), (4, 2), (3, 1)):
        message = "the sum is wrong where the ranks do not divide the number of numbers"
        less = "the sum is wrong for fewer numbers than ranks"
        played = judge_ring(student, [normal(rng, n) for _ in range(size)], less if n < size else message)
        expect_few_bytes(played, n, size)


@check("ring", points=1.5, title="one rank, and memory of its own", seconds=10)
def own_memory(student, rng):
    expect_a_ring(student, rng)
    for size in (3, 1):
        xs = [normal(rng, 6) for _ in range(size)]
        message = "the sum of one rank's tensor is not that tensor" if size == 1 else f"the sum is wrong; {WHY}"
        played = judge_ring(student, xs, message)
        for x, (_, kept, marked) in zip(xs, played.results, strict=True):
            expect(same(kept, x), "ring_all_reduce changes x: it stays as it is")
            alone = "the result of one rank is x itself, not a copy: what is done to it is done to x"
            expect(
                same(marked, x), alone if size == 1 else "the result shares memory with x: what is done to it changes x"
            )


@check("ring", points=1.5, title="shapes and dtypes, and the same bits on all ranks", seconds=15)
def shapes_and_dtypes(student, rng):
    expect_a_ring(student, rng)
    xs = [normal(rng, 2, 3, 4) for _ in range(3)]
    judge_ring(student, xs, "the sum is wrong for tensors of three dimensions")
    turned = [normal(rng, 4, 6).T for _ in range(2)]
    judge_ring(student, turned, "the sum is wrong for a transposed tensor")
    whole = [torch.randint(0, 99, (6,), generator=generator(rng)) for _ in range(3)]
    half = [normal(rng, 6).bfloat16() for _ in range(3)]
    for given, name in ((whole, "int64"), (half, "bfloat16")):
        played = judge_ring(student, given, f"the sum of tensors in {name} is wrong")
        for result, _, _ in played.results:
            expect(result.dtype == given[0].dtype, f"the sum of tensors in {name} has another dtype")
    played = ring(student, [normal(rng, 30) for _ in range(3)])
    first = played.results[0][0]
    message = "ranks get sums that differ in their last bits: add each chunk once, then pass it on"
    expect(all(same(result, first) for result, _, _ in played.results), message)


@check("ring", points=15.5, title="together: the sum, in few bytes", seconds=20)
def ring_together(student, rng):
    for size in (2, 3, rng.choice([4, 5])):
        n = size * rng.randint(4, 7)
        xs = [normal(rng, n) for _ in range(size)]
        played = judge_ring(student, xs, f"together: the result is not the sum of all ranks; {WHY}")
        expect_few_bytes(played, n, size)
        spoilt = rng.randrange(size)
        changed = ring(student, xs, spoilt).results[spoilt][0]
        message = "together: the result does not depend on what arrives last from the other ranks"
        expect(not alike(changed, played.results[spoilt][0]), message)
