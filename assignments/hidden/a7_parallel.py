r"""Hidden checks of a7_parallel: 100 points.

Each exercise has one check of all of it together on ordinary input, which carries most of its points; the others say why,
and each looks at one thing alone. **The ranks are driven from here.** `drive_ranks` runs, beside the student's code, a rank
from its beginning through all answers that it has had, and says what it yields next; `play` carries messages, adds, counts
bytes and finds deadlocks on this side. So nothing that a submission does to `cs336lite.collectives` matters: requests are
known by their names and by what they hold, and are copied as soon as they are yielded.

A rank could know what others hold without a message, through a global variable. So each ``together`` plays once more with
one answer spoilt, and a result that does not change is no result of what arrived.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cs336lite.course.answers import ask, close, either, list_of, same, some_tensor
from cs336lite.course.spec import Fail, check, expect

WARM = ("torch", "einops", "jaxtyping")
REFUSED = ("torch.distributed.*",)
READ = {  # where to read on, by exercise
    "ring": (
        "Patarasuk and Yuan 2009, sections 3 and 4; in the assignment the table of four steps",
        "https://doi.org/10.1016/j.jpdc.2008.09.002",
    ),
    "buckets": ("Li et al. 2020, PyTorch Distributed, section 3.2", "https://arxiv.org/abs/2006.15704"),
    "zero": ("Rajbhandari et al. 2019, ZeRO, section 5.1", "https://arxiv.org/abs/1910.02054"),
    "tensor": ("Shoeybi et al. 2019, Megatron-LM, section 3", "https://arxiv.org/abs/1909.08053"),
    "pipeline": ("Narayanan et al. 2021, section 2.2.1 and figure 4", "https://arxiv.org/abs/2104.04473"),
}
MOST = 20_000  # numbers in a tensor
ROUNDS = 80
WHY = "checks of single parts that fail say why"
COLLECTIVES = ("AllReduce", "ReduceScatter", "AllGather")


# ---------------------------------------------------------------------------------------------------------------------
# Ranks


def drive_ranks(student, name, world_size, turns):
    """How far some ranks come: for each, from its job and its answers so far, [new requests, how it stopped, result]."""
    from itertools import islice

    import torch
    from torch import nn

    class Plain(Exception):
        pass

    class Huge(Exception):
        pass

    def called(made):
        if not hasattr(made, "send"):
            raise Plain
        return (yield from made)

    def copied(value):
        if isinstance(value, (list, tuple)):
            return [copied(x) for x in value]
        if isinstance(value, torch.Tensor) and value.numel() > 100_000:  # a view of one number can be as large
            raise Huge
        return value.detach().clone() if isinstance(value, torch.Tensor) else None

    def ring(rank, x):
        result = yield from called(student.ring_all_reduce(rank, world_size, x))
        if not isinstance(result, torch.Tensor):
            return None
        first, kept = copied(result), copied(x)
        result.fill_(77)
        return [first, kept, copied(x)]

    def buckets(rank, values, grads, trained, bucket_bytes):
        parameters = [nn.Parameter(x.clone(), requires_grad=t) for x, t in zip(values, trained, strict=True)]
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        yield from called(student.average_gradients(rank, world_size, parameters, bucket_bytes))
        return [copied([p.grad for p in parameters]), copied(parameters)]

    def zero(rank, kind, values, steps):
        sizes, after, shards = [], [], []

        def make(parameters):
            parameters = list(parameters)
            shards.extend(parameters)
            sizes.append([p.numel() for p in parameters])
            if kind == "sgd":
                return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
            return torch.optim.AdamW(parameters, lr=0.1, eps=0.01, weight_decay=0.1)

        parameters = [nn.Parameter(x.clone()) for x in values]
        optimizer = student.ZeroOptimizer(rank, world_size, parameters, make)
        for grads in steps:
            for parameter, grad in zip(parameters, grads, strict=True):
                parameter.grad = grad.clone()
            yield from called(optimizer.step())
            after.append(copied(parameters))
        shared = [p.untyped_storage().data_ptr() for p in parameters]
        kept = [(x.untyped_storage(), x.numel(), x.element_size()) for x in shards]
        kept = [[s.nbytes() // each, n] for s, n, each in kept if s.data_ptr() not in shared]
        return [after, sizes, copied([p.grad for p in parameters]), kept]

    def tensor(rank, function, *given):
        result = yield from called(getattr(student, function)(rank, world_size, *given))
        return [copied(list(result) if isinstance(result, tuple) else [result]), copied(given)]

    def asked(request):
        other = getattr(request, "to", getattr(request, "source", -1))
        tensors = getattr(request, "tensors", None) or [getattr(request, "tensor", None)]
        tensors = [copied(x) for x in islice(tensors, 20) if isinstance(x, torch.Tensor)]
        return [type(request).__name__[:20], other if type(other) is int else -1, tensors]

    states = []
    for rank, job, answers in turns:
        program = {"ring": ring, "buckets": buckets, "zero": zero, "tensor": tensor}[name](rank, *job)
        new, answer, left = [], None, list(answers)
        try:
            while True:
                request = asked(program.send(answer))
                answer = None
                if request[0] == "Send":
                    new += [] if left else [request]
                    if len(new) > 100:
                        states.append([new, "too many", None])
                        break
                elif left:
                    answer = left.pop(0)
                else:
                    states.append([[*new, request], "waits", None])
                    break
        except StopIteration as end:
            states.append([new, "ended", end.value])
        except Plain:
            states.append([[], "plain", None])
        except Huge:
            states.append([[], "huge", None])
    return states


@dataclass
class Played:
    """What all ranks gave, and what each has asked for: (name, other rank, tensors)."""

    results: list[Any]
    asked: list[list[tuple[str, int, list[Tensor]]]]

    def sends(self, rank: int) -> list[tuple[str, int, list[Tensor]]]:
        return [one for one in self.asked[rank] if one[0] == "Send"]

    def collectives(self, rank: int) -> list[tuple[str, int, list[Tensor]]]:
        return [one for one in self.asked[rank] if one[0] in COLLECTIVES]


def play(
    student: Any, name: str, jobs: list[list], form: Any, allowed: tuple[str, ...], what: str, spoilt: int | None = None
) -> Played:
    """Run all ranks to their end. ``spoilt`` is a rank whose last answer is not what the others have said."""
    size = len(jobs)
    answers, asked = [[] for _ in jobs], [[] for _ in jobs]
    waiting: list[Any] = [None] * size
    results: list[Any] = [None] * size
    ended: set[int] = set()
    mail: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
    last = None
    if spoilt is not None:  # how many answers that rank gets
        plain = play(student, name, jobs, form, allowed, what)
        last = sum(one[0] != "Send" for one in plain.asked[spoilt])
    turns = list(range(size))
    requests = list_of([str, int, list_of(some_tensor(MOST), least=0, most=16)], least=0, most=120)
    state = [requests, str, either(type(None), form)]
    for _ in range(ROUNDS):
        told = [[rank, jobs[rank], answers[rank]] for rank in turns]
        states = ask(student, list_of(state, len(turns)), drive_ranks, name, size, told)
        for rank, (new, stopped, result) in zip(turns, states, strict=True):
            expect(stopped != "plain", f"{what} gives no generator: it needs a yield, and be it `yield from ()`")
            expect(stopped != "too many", f"{what} sends without end")
            expect(stopped != "huge", f"{what} makes a tensor far larger than all that it was given")
            for kind, other, tensors in new:
                look_at(kind, other, tensors, rank, size, allowed, what)
                asked[rank].append((kind, other, tensors))
                if kind == "Send":
                    mail[rank, other].append(tensors[0])
            waiting[rank] = new[-1] if stopped == "waits" else None
            if stopped == "ended":
                expect(result is not None, f"{what} returns None: is a return missing?")
                results[rank] = result
                ended.add(rank)
        turns = []
        for rank, request in enumerate(waiting):
            if request is not None and request[0] == "Receive" and mail[request[1], rank]:
                answers[rank].append(mail[request[1], rank].pop(0))
                turns.append(rank)
        if not turns:
            if len(ended) == size:
                expect(not any(mail.values()), f"{what} sends a message that nobody receives")
                return Played(results, asked)
            expect_together(waiting, ended, what)
            for rank, answer in enumerate(carried_out(waiting)):
                answers[rank].append(answer)
            turns = list(range(size))
        if last is not None and spoilt in turns and len(answers[spoilt]) == last:
            answer = answers[spoilt].pop()
            answers[spoilt].append([x + 3 for x in answer] if isinstance(answer, list) else answer + 3)
    raise Fail(f"{what} comes to no end")


def look_at(
    kind: str, other: int, tensors: list[Tensor], rank: int, size: int, allowed: tuple[str, ...], what: str
) -> None:
    if kind not in allowed:
        raise Fail(ONLY[allowed] if kind in (*COLLECTIVES, "Send", "Receive") else f"{what} yields what is no request")
    if kind == "Send":
        expect(len(tensors) == 1, f"{what} yields a request without its tensor")
    if kind in ("Send", "Receive"):
        message = (
            "a rank outside of 0 to world_size - 1 is named: behind the last rank comes rank 0, so use % world_size"
        )
        expect(0 <= other < size, message)
        expect(other != rank, "a rank sends to itself, or receives from itself: one rank alone needs no message")
    if kind == "ReduceScatter":
        expect(len(tensors) == size, "ReduceScatter is not given one tensor for each rank")
    elif kind != "Receive":
        expect(len(tensors) == 1, f"{what} yields a request without its tensor")


ONLY = {
    ("Send", "Receive"): "a collective does the work: the ring is made of Send and Receive alone",
    ("AllReduce",): "something else than AllReduce is asked for: nothing else needs to be sent",
    ("ReduceScatter", "AllGather"): "something else than ReduceScatter and AllGather is asked for in a step",
}


def expect_together(waiting: list[Any], ended: set[int], what: str) -> None:
    """Fail unless all ranks wait in the same collective, with tensors that fit."""
    kinds = {request[0] for request in waiting if request is not None}
    expect(
        "Receive" not in kinds or bool(ended),
        "deadlock: ranks wait for messages that nobody sends: send before you receive",
    )
    expect("Receive" not in kinds, "deadlock: a rank has ended, and another one waits for a message")
    expect(not ended, f"{what}: some ranks end while others wait in a collective: all ranks ask for the same ones")
    expect(len(kinds) == 1, f"{what}: ranks wait in different collectives: all ask for the same, in the same order")
    for column in zip(*(request[2] for request in waiting), strict=True):
        whole = {x.dtype for x in column}, {x.shape[1:] if request_gathers(waiting) else x.shape for x in column}
        message = f"{what}: the tensors of one collective differ between ranks in shape or dtype"
        expect(len(whole[0]) == len(whole[1]) == 1, message)


def request_gathers(waiting: list[Any]) -> bool:
    return waiting[0][0] == "AllGather"


def carried_out(waiting: list[Any]) -> list[Any]:
    kind, columns = waiting[0][0], list(zip(*(request[2] for request in waiting), strict=True))
    if kind == "AllGather":
        return [[x.clone() for x in columns[0]] for _ in waiting]
    totals = [torch.stack(column).sum(0, dtype=column[0].dtype) for column in columns]
    return totals if kind == "ReduceScatter" else [totals[0].clone() for _ in waiting]


def generator(rng: random.Random) -> torch.Generator:
    return torch.Generator().manual_seed(rng.getrandbits(60))


def normal(rng: random.Random, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(rng))


def alike(answer: Any, right: Tensor, tolerance: float = 1e-4) -> bool:
    return close(answer, right.double(), tolerance, tolerance)


def ceil(n: int, size: int) -> int:
    return -(-n // size)


# ---------------------------------------------------------------------------------------------------------------------
# 1 · ring


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


# ---------------------------------------------------------------------------------------------------------------------
# 2 · buckets


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


def some_values(rng, *counts: int) -> list[Tensor]:
    return [normal(rng, count) for count in counts]


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


# ---------------------------------------------------------------------------------------------------------------------
# 3 · zero


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
            expect(not alike(whole(said), whole(values)), "a step leaves the parameters as they were: copy into them")
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
        expect(
            all(sum(one) <= ceil(n, size) for one in sizes),
            "the optimizer is given more than this rank's shard, so its state is as large as without ZeRO",
        )


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


# ---------------------------------------------------------------------------------------------------------------------
# 4 · tensor


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


# ---------------------------------------------------------------------------------------------------------------------
# 5 · pipeline


def drive_schedule(student, cases):
    """What each stage does: (whether backward, micro-batch); None where it is no such list."""
    said = []
    for num_stages, num_microbatches in cases:
        for stage in range(num_stages):
            order = student.one_forward_one_backward(stage, num_stages, num_microbatches)
            one = []
            for kind, i in list(order)[:200]:
                one.append([{"forward": 0, "backward": 1}.get(kind, 2), int(i)])
            said.append(one)
    return said


def schedules(student, cases: list[list[int]]) -> list[list[list[list[int]]]]:
    count = sum(num_stages for num_stages, _ in cases)
    said = ask(student, list_of(list_of([int, int], least=0), count), drive_schedule, cases)
    made = []
    for num_stages, _ in cases:
        made.append(said[:num_stages])
        said = said[num_stages:]
    return made


def most_held(order: list[list[int]]) -> int:
    held = most = 0
    for kind, _ in order:
        held += 1 if kind == 0 else -1
        most = max(most, held)
    return most


def makespan(stages: list[list[list[int]]], cost: tuple[int, int]) -> int | None:
    """When the last stage is done; None for a deadlock."""
    todo, done, free = [list(order) for order in stages], {}, [0] * len(stages)
    moved = True
    while moved:
        moved = False
        for stage, orders in enumerate(todo):
            while orders:
                kind, i = orders[0]
                beside = stage - 1 if kind == 0 else stage + 1
                needs = [(kind, i, beside)] if 0 <= beside < len(stages) else []
                needs += [(0, i, stage)] if kind else []
                if not all(one in done for one in needs):
                    break
                free[stage] = max([free[stage], *(done[one] for one in needs)]) + cost[kind]
                done[kind, i, stage] = free[stage]
                orders.pop(0)
                moved = True
    return None if any(todo) else max(free)


def expect_whole(stages: list[list[list[int]]], num_microbatches: int) -> None:
    right = sorted([kind, i] for kind in (0, 1) for i in range(num_microbatches))
    for order in stages:
        expect(all(kind < 2 for kind, _ in order), "a step is called neither forward nor backward")
        beyond = any(not 0 <= i < num_microbatches for _, i in order)
        expect(not beyond, "a micro-batch is named that does not exist: there may be fewer of them than stages")
        expect(sorted(order) == right, "a stage does not do each micro-batch once forward and once backward")


def expect_in_time(stages: list[list[list[int]]], num_microbatches: int) -> None:
    for cost in ((1, 1), (1, 2), (3, 1)):
        time = makespan(stages, cost)
        expect(time is not None, "deadlock: a stage waits for another one that waits for it")
        least = (num_microbatches + len(stages) - 1) * sum(cost)
        expect(
            time <= least, "stages wait longer than they must: begin with forwards until the first backward can come"
        )


def expect_few_held(stages: list[list[list[int]]], num_microbatches: int) -> None:
    size = len(stages)
    for stage, order in enumerate(stages):
        held = most_held(order)
        all_first = size - stage < num_microbatches and held == num_microbatches
        expect(not all_first, "all forwards come first, as in GPipe: a stage does a backward as soon as it can")
        expect(held <= size - stage, "a stage holds more than num_stages - stage micro-batches at a time")


@check("pipeline", points=1.5, title="how many micro-batches a stage holds", seconds=5)
def held(student, rng):
    num_stages = rng.randint(3, 5)
    many = num_stages + rng.randint(3, 6)
    (stages,) = schedules(student, [[num_stages, many]])
    expect_whole(stages, many)
    expect_few_held(stages, many)
    for stage, order in enumerate(stages):
        message = "a stage holds fewer than num_stages - stage micro-batches, though there are enough"
        expect(most_held(order) == num_stages - stage, message)


@check("pipeline", points=1.5, title="few micro-batches, one stage", seconds=5)
def few_microbatches(student, rng):
    cases = [[2, 3], [4, 2], [5, 1], [3, 3], [1, rng.randint(2, 5)]]
    for (_, count), stages in zip(cases, schedules(student, cases), strict=True):
        expect_whole(stages, count)
        expect_in_time(stages, count)
        expect_few_held(stages, count)


@check("pipeline", points=7, title="together: all stages, to their end and in time", seconds=5)
def pipeline_together(student, rng):
    cases = [[2, rng.randint(4, 6)], [3, rng.randint(5, 8)], [4, rng.randint(6, 9)]]
    for (_, count), stages in zip(cases, schedules(student, cases), strict=True):
        expect_whole(stages, count)
        expect_in_time(stages, count)
        expect_few_held(stages, count)
