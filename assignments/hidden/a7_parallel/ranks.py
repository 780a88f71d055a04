"""Ranks, driven from here: messages are carried, bytes counted and deadlocks found on this side."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cs336lite.course.answers import ask, either, list_of, some_tensor
from cs336lite.course.spec import Fail, expect

MOST = 20_000  # numbers in a tensor
ROUNDS = 80
WHY = "checks of single parts that fail say why"
COLLECTIVES = ("AllReduce", "ReduceScatter", "AllGather")


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
