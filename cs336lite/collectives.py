"""Ranks that talk to each other: requests for messages and collectives, and a driver that runs all ranks in one process.

A *rank* is one of the workers of a parallel program. Its program is a generator function: it computes, yields a request,
and goes on with the answer.

    def mean(rank, world_size, tensors):
        total = yield AllReduce(tensors[rank])
        return total / world_size

    outcome = run(mean, 4, [torch.ones(3)] * 4)        # ranks in turn, in this process: the same result every time
    outcome = run_processes(mean, 4, ...)              # the same program in real processes that talk through gloo

    request                     what every rank gives          what it gets
    `Send`(to, x)               a tensor for rank ``to``       None, at once: a send is buffered and waits for nobody
    `Receive`(source)           nothing                        the next tensor that ``source`` sent to this rank
    `Broadcast`(x, source)      x, or None beside the source   the source's x
    `AllReduce`(x)              x                              the sum (or the maximum) of all x
    `ReduceScatter`([x0, …])    one tensor for each rank       the sum of the tensors for this rank
    `AllGather`(x)              x                              the list of all x, in the order of ranks
    `AllToAll`([x0, …])         one tensor for each rank       the list of what each rank gave this one
    `Barrier`()                 nothing                        None, when all ranks are there

A tensor that arrives is a copy, and so are the arguments of each rank, as in processes of their own.

Bytes and steps are those of rings (环), in which each rank sends to the next. With p ranks and tensors of n bytes a rank
sends 2 n (p − 1) / p for an `AllReduce`, n (p − 1) / p for a `ReduceScatter`, the gathered bytes but for one part for an
`AllGather`, and everything but its own part for an `AllToAll`. A `Broadcast` goes along the ring: n for each rank but the
last. A `Barrier` is counted as no bytes.

Written by hand, because assignments and lectures alike build on it. One file because a submission is handed it alone.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

__all__ = [
    *("Send", "Receive", "Broadcast", "AllReduce", "ReduceScatter", "AllGather", "AllToAll", "Barrier"),
    *("Event", "Outcome", "RanksError", "run", "run_processes"),
]


class RanksError(RuntimeError):
    """Ranks that do not fit together, with their numbers: a deadlock, different collectives, one that ended early."""


@dataclass(frozen=True, eq=False)
class Request:
    """What a rank can yield."""

    def given(self) -> list[Tensor]:
        """The tensors in it, in order."""
        values = [getattr(self, one.name) for one in fields(self)]
        listed = (list(value) if isinstance(value, (list, tuple)) else [value] for value in values)
        return [x for part in listed for x in part if isinstance(x, Tensor)]

    def __str__(self) -> str:
        own = [f"{one.name}={getattr(self, one.name)}" for one in fields(self) if one.name in ("to", "source")]
        given = [f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}" for x in self.given()]
        return f"{type(self).__name__}({', '.join([*own, *given])})"


@dataclass(frozen=True, eq=False)
class Send(Request):
    """A tensor for rank ``to``. Messages from one rank to another arrive in the order in which they were sent."""

    to: int
    tensor: Tensor


@dataclass(frozen=True, eq=False)
class Receive(Request):
    """The next tensor that rank ``source`` sent to this rank; waits until there is one."""

    source: int


@dataclass(frozen=True, eq=False)
class Broadcast(Request):
    """The tensor of rank ``source`` for all; the others may give None, and what they give is not looked at."""

    tensor: Tensor | None
    source: int


@dataclass(frozen=True, eq=False)
class AllReduce(Request):
    """The sum over all ranks, or with ``op="max"`` the maximum. All tensors have one shape and one dtype."""

    tensor: Tensor
    op: str = "sum"


@dataclass(frozen=True, eq=False)
class ReduceScatter(Request):
    """Tensor i of each rank is for rank i, which gets their sum. The tensors for one rank have one shape."""

    tensors: Sequence[Tensor]


@dataclass(frozen=True, eq=False)
class AllGather(Request):
    """The tensors of all ranks. Their shapes may differ in the first dimension, as uneven shards do."""

    tensor: Tensor


@dataclass(frozen=True, eq=False)
class AllToAll(Request):
    """Tensor i of each rank goes to rank i. Their shapes may differ in the first dimension."""

    tensors: Sequence[Tensor]


@dataclass(frozen=True, eq=False)
class Barrier(Request):
    """Wait for all ranks."""


@dataclass(frozen=True)
class Event:
    """Something that a rank sent: in which step, what (the name of the request), to whom (None: a collective), how much.

    A rank sends one message and receives one message in a step. So a step costs the same however many ranks there are, and
    the number of steps is what a program waits for.
    """

    step: int
    kind: str
    rank: int
    to: int | None
    bytes: int


@dataclass(frozen=True)
class Outcome:
    """What a run gave: ``results`` by rank, bytes ``sent`` and ``messages`` by rank, all events, and the number of steps."""

    results: list[Any]
    sent: list[int]
    messages: list[int]
    trace: list[Event] = field(repr=False)
    steps: int


def run(program: Callable[..., Generator], world_size: int, *args: Any, **kwargs: Any) -> Outcome:
    """Run ``program(rank, world_size, *args, **kwargs)`` for every rank, in turn, in this process.

    Each rank runs until it waits, in the order of ranks, so every run gives the same. Sums are added in the order of
    ranks. Arguments are copied for each rank.

    Args:
        program: a generator function; what it returns is the rank's result.
        world_size: how many ranks there are, at least 1.

    Raises:
        RanksError: no rank can go on (who waits for what), the ranks ask for different collectives or give shapes or
            dtypes that do not fit, a rank ended while others wait for it, or a message was never received.
        ValueError: a rank outside the world, a message to oneself, a list without one tensor for each rank.
        TypeError: a program that is no generator function, or yields what is no request.

    >>> def total(rank, world_size):
    ...     x = yield AllReduce(torch.tensor([rank, 10 * rank]))
    ...     return x.tolist()
    >>> outcome = run(total, 4)
    >>> outcome.results[0], outcome.sent, outcome.steps
    ([6, 60], [16, 24, 32, 24], 6)
    """
    return _Driver(program, world_size, args, kwargs).run()


def run_processes(
    program: Callable[..., Generator], world_size: int, *args: Any, timeout: float = 60, **kwargs: Any
) -> Outcome:
    """`run` in real processes that talk through gloo, PyTorch's library for CPUs.

    Arguments must be of classes that a new process can import; the program may be defined in a notebook. Bytes and steps are counted as in
    `run`; gloo adds sums in an order of its own.

    Raises:
        RanksError: a rank raised, was killed, or was not done after ``timeout`` seconds; the message names it. All
            processes are gone by then.
    """
    from cs336lite.gloo import run_processes

    return run_processes(program, world_size, args, kwargs, timeout)


def nbytes(tensors: Sequence[Tensor]) -> int:
    return sum(x.numel() * x.element_size() for x in tensors)


def checked(request: Any, rank: int, world_size: int) -> Request:
    """The request, if it can be one of this rank's. Raises ValueError and TypeError as `run` says."""
    if not isinstance(request, Request) or type(request) is Request:
        raise TypeError(f"rank {rank} yielded {type(request).__name__}: yield a request, such as AllReduce(x)")
    other = getattr(request, "to", getattr(request, "source", None))
    if other is not None:
        if not isinstance(other, int) or not 0 <= other < world_size:
            raise ValueError(f"rank {rank}: {request} names rank {other}, and the ranks are 0 to {world_size - 1}")
        if other == rank and isinstance(request, (Send, Receive)):
            raise ValueError(f"rank {rank}: {request} is a message to itself")
    if isinstance(request, (ReduceScatter, AllToAll)):
        parts = request.tensors
        if not isinstance(parts, (list, tuple)) or len(parts) != world_size:
            found = len(parts) if isinstance(parts, (list, tuple)) else type(parts).__name__
            raise ValueError(
                f"rank {rank}: {type(request).__name__} takes a list of {world_size} tensors, one for each rank, not {found}"
            )
        needed = len(parts)
    else:
        silent = isinstance(request, (Receive, Barrier)) or (isinstance(request, Broadcast) and request.source != rank)
        needed = 0 if silent else 1
    if len(request.given()) < needed:
        raise TypeError(f"rank {rank}: {type(request).__name__} takes tensors; make one with torch.tensor(…)")
    if isinstance(request, AllReduce) and request.op not in ("sum", "max"):
        raise ValueError(f"rank {rank}: AllReduce has no op {request.op!r}; there are 'sum' and 'max'")
    return request


def ring_bytes(requests: Sequence[Request]) -> list[int]:
    """The bytes that each rank sends for a collective in a ring, from the requests of all ranks."""
    size, first = len(requests), requests[0]
    if size == 1 or isinstance(first, Barrier):
        return [0] * size
    if isinstance(first, Broadcast):
        return [0 if rank == (first.source - 1) % size else nbytes([_source(requests)]) for rank in range(size)]
    if isinstance(first, AllGather):
        return [
            nbytes([r.tensor for r in requests]) - nbytes([requests[(rank + 1) % size].tensor]) for rank in range(size)
        ]
    if isinstance(first, (ReduceScatter, AllToAll)):
        return [nbytes(r.given()) - nbytes([r.given()[rank]]) for rank, r in enumerate(requests)]
    x = first.tensor  # AllReduce: a reduce-scatter of nearly equal chunks, and an all-gather of them
    chunks = [(x.numel() // size + (i < x.numel() % size)) * x.element_size() for i in range(size)]
    return [2 * sum(chunks) - chunks[rank] - chunks[(rank + 1) % size] for rank in range(size)]


def ring_steps(request: Request, world_size: int) -> int:
    """The steps of a collective in a ring: p − 1, and twice that for an all-reduce; a barrier is free."""
    return 0 if isinstance(request, Barrier) else (world_size - 1) * (2 if isinstance(request, AllReduce) else 1)


def _source(requests: Sequence[Request]) -> Tensor:
    return requests[requests[0].source].tensor


def _alike(requests: Sequence[Request]) -> None:
    """RanksError, with what each rank gives, when these requests are no collective together."""
    first = requests[0]
    kinds = {(type(r), getattr(r, "op", None), getattr(r, "source", None)) for r in requests}
    problem = "the ranks ask for different collectives" if len(kinds) > 1 else ""
    if not problem and not isinstance(first, (Broadcast, Barrier)):
        if len({x.dtype for r in requests for x in r.given()}) > 1:
            problem = "the dtypes differ"
        elif isinstance(first, (AllReduce, ReduceScatter)):
            if any(len({x.shape for x in column}) > 1 for column in zip(*(r.given() for r in requests))):
                problem = "the shapes differ"
        elif len({x.shape[1:] if x.ndim else None for r in requests for x in r.given()}) > 1:
            problem = "the shapes differ by more than the first dimension"
    if problem:
        raise RanksError(f"{problem}: " + "; ".join(f"rank {rank} {r}" for rank, r in enumerate(requests)))


def answers(requests: Sequence[Request]) -> list[Any]:
    """What each rank gets from a collective; copies, added in the order of ranks."""
    first, size = requests[0], len(requests)
    if isinstance(first, Barrier):
        return [None] * size
    if isinstance(first, Broadcast):
        return [_copy(_source(requests)) for _ in requests]
    if isinstance(first, AllReduce):
        total = _reduced([r.tensor for r in requests], first.op)
        return [_copy(total) for _ in requests]
    if isinstance(first, AllGather):
        return [[_copy(r.tensor) for r in requests] for _ in requests]
    columns = list(zip(*(r.given() for r in requests), strict=True))
    if isinstance(first, ReduceScatter):
        return [_reduced(column, "sum") for column in columns]
    return [[_copy(x) for x in column] for column in columns]


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def _reduced(tensors: Sequence[Tensor], op: str) -> Tensor:
    made = _copy(tensors[0])
    for other in tensors[1:]:
        made = made + other.detach() if op == "sum" else torch.maximum(made, other.detach())
    return made


class _Driver:
    """The state of a run. Each rank has a generator until it ends, and a request that it waits in."""

    def __init__(self, program: Callable[..., Generator], size: int, args: tuple, kwargs: dict) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"world_size is {size!r}: there is at least one rank")
        self.size = size
        self.ranks: list[Generator | None] = []
        for rank in range(size):
            made = program(rank, size, *copy.deepcopy(args), **copy.deepcopy(kwargs))
            if not isinstance(made, Generator):
                raise TypeError(
                    f"the program of rank {rank} returned {type(made).__name__}: a program is a generator function, "
                    "which yields its requests (`total = yield AllReduce(x)`)"
                )
            self.ranks.append(made)
        self.waiting: list[Request | None] = [None] * size
        self.results: list[Any] = [None] * size
        self.mail = {(a, b): deque[tuple[Tensor, int]]() for a in range(size) for b in range(size)}
        self.clock, self.out, self.into = (
            [0] * size,
            [0] * size,
            [0] * size,
        )  # steps: the rank, its sending, its receiving
        self.trace: list[Event] = []

    def run(self) -> Outcome:
        try:
            for rank in range(self.size):
                self.go_on(rank, None)
            while any(self.ranks):
                if not self.deliver() and not self.collective():
                    self.stuck()
        finally:
            for generator in filter(None, self.ranks):
                generator.close()
        for (source, to), messages in self.mail.items():
            if messages:
                raise RanksError(f"rank {source} sent rank {to} {len(messages)} messages that it never received")
        sent, messages = [0] * self.size, [0] * self.size
        for event in self.trace:
            sent[event.rank] += event.bytes
            messages[event.rank] += 1 if event.to is not None else event_messages(event, self.size)
        return Outcome(self.results, sent, messages, self.trace, max(*self.clock, *self.out))

    def go_on(self, rank: int, answer: Any) -> None:
        """Run a rank until it waits or ends."""
        generator = self.ranks[rank]
        self.waiting[rank] = None
        try:
            while True:
                request = checked(generator.send(answer), rank, self.size)
                if not isinstance(request, Send):
                    self.waiting[rank] = request
                    return
                self.send(rank, request)
                answer = None
        except StopIteration as end:
            self.ranks[rank], self.results[rank] = None, end.value
        except Exception as error:
            error.add_note(f"(in rank {rank} of {self.size})")
            raise

    def send(self, rank: int, request: Send) -> None:
        step = max(self.clock[rank], self.out[rank])
        self.out[rank] = step + 1
        self.mail[rank, request.to].append((_copy(request.tensor), step))
        self.trace.append(Event(step, "Send", rank, request.to, nbytes([request.tensor])))

    def deliver(self) -> bool:
        """Give each rank that waits for a message the message, if there is one; whether there was any."""
        moved = False
        for rank, request in enumerate(self.waiting):
            if isinstance(request, Receive) and self.mail[request.source, rank]:
                tensor, step = self.mail[request.source, rank].popleft()
                self.into[rank] = max(step, self.into[rank]) + 1
                self.clock[rank] = max(self.clock[rank], self.into[rank])
                self.go_on(rank, tensor)
                moved = True
        return moved

    def collective(self) -> bool:
        """Carry out a collective that all ranks wait in; whether there was one."""
        requests = self.waiting
        if any(request is None or isinstance(request, Receive) for request in requests):
            return False
        _alike(requests)
        start = max(*self.clock, *self.out)
        for rank, count in enumerate(ring_bytes(requests)):
            self.trace.append(Event(start, type(requests[0]).__name__, rank, None, count))
        self.clock = [start + ring_steps(requests[0], self.size)] * self.size
        for rank, answer in enumerate(answers(requests)):
            self.go_on(rank, answer)
        return True

    def stuck(self) -> None:
        waits = [f"rank {rank} waits in {request}" for rank, request in enumerate(self.waiting) if request is not None]
        ended = [rank for rank, generator in enumerate(self.ranks) if generator is None]
        also = f"; {_named(ended)} ended before" if ended else ""
        raise RanksError(f"deadlock, no rank can go on: {'; '.join(waits)}{also}")


def event_messages(event: Event, world_size: int) -> int:
    """How many messages a rank sends for a collective in a ring."""
    if not event.bytes:
        return 0
    return {"AllReduce": 2 * (world_size - 1), "Broadcast": 1}.get(event.kind, world_size - 1)


def _named(ranks: Sequence[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
