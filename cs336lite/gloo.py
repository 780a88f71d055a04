"""Ranks as real processes that talk through gloo: what `cs336lite.collectives.run_processes` does.

Each rank is a new Python that reads the program and its arguments from a file, joins the others and answers the program's
requests with `torch.distributed`. A program may also call `torch.distributed` itself: the group of all ranks is there.
The starter watches. When a rank dies it ends the others, and when the starter dies the ranks end themselves.

Written by hand: `python -m cs336lite.gloo FOLDER RANK SIZE SECONDS` is a rank.
"""

from __future__ import annotations

import marshal
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from cs336lite import collectives as c
from cs336lite.scratch import Scratch

START = 300.0
"""Seconds that the processes have to start and to find each other, before the timeout of the program counts."""

GRACE = 2.0
"""Seconds in which ranks can still say what happened to them after one has failed."""


def run_processes(program: Callable[..., Generator], size: int, args: tuple, kwargs: dict, timeout: float) -> c.Outcome:
    """See `cs336lite.collectives.run_processes`."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"world_size is {size!r}: there is at least one rank")
    with Scratch("course") as folder:
        (folder / "program").write_bytes(pickle.dumps((pack(program), args, kwargs)))
        ranks = [_start(folder, rank, size, timeout) for rank in range(size)]
        try:
            _watch(ranks, folder, timeout)
        finally:
            for process in ranks:
                process.kill()
                process.wait()
                process.stdin.close()
        made = [pickle.loads((folder / f"result-{rank}").read_bytes()) for rank in range(size)]
    trace = [c.Event(*event) for one in made for event in one["trace"]]
    sent = [sum(event.bytes for event in trace if event.rank == rank) for rank in range(size)]
    return c.Outcome(
        [one["result"] for one in made],
        sent,
        [one["messages"] for one in made],
        trace,
        max(one["steps"] for one in made),
    )


def pack(program: Callable[..., Any], known: dict | None = None) -> Any:
    """A function in a form that another process can read: by its name, or, if a notebook defined it, by its code.

    Raises ValueError for a function of a notebook inside another function: its surroundings cannot be sent.
    """
    if not isinstance(program, FunctionType) or program.__module__ != "__main__":
        return program
    known = {} if known is None else known
    if program.__closure__:
        raise ValueError(f"{program.__qualname__} uses names of the function around it: define it on its own")
    if program.__name__ not in known:
        used: dict[str, Any] = {}
        known[program.__name__] = (marshal.dumps(program.__code__), program.__defaults__, program.__kwdefaults__, used)
        for name in _names(program.__code__):
            value = program.__globals__.get(name, _names)
            if isinstance(value, ModuleType):
                used[name] = ("module", value.__name__)
            elif isinstance(value, FunctionType) and value.__module__ == "__main__":
                pack(value, known)
                used[name] = ("function", value.__name__)
            elif value is not _names:
                used[name] = ("value", value)
    return Packed(program.__name__, known)


def unpack(packed: Any) -> Callable[..., Any]:
    """The function that was packed."""
    if not isinstance(packed, Packed):
        return packed
    made = {}
    for name, (code, defaults, named, _) in packed.functions.items():
        made[name] = FunctionType(marshal.loads(code), {"__builtins__": __builtins__}, name, defaults)
        made[name].__kwdefaults__ = named
    for name, (*_, used) in packed.functions.items():
        for other, (kind, value) in used.items():
            meant = {"module": import_module, "function": made.get, "value": lambda v: v}[kind](value)
            made[name].__globals__[other] = meant
    return made[packed.name]


@dataclass(frozen=True)
class Packed:
    """A function of a notebook and those that it calls: code, defaults, and what their other names mean."""

    name: str
    functions: dict[str, tuple]


def _names(code: CodeType) -> set[str]:
    inner = [_names(one) for one in code.co_consts if isinstance(one, CodeType)]
    return set(code.co_names).union(*inner)


def _start(folder: Path, rank: int, size: int, timeout: float) -> subprocess.Popen:
    paths = os.pathsep.join(dict.fromkeys(path or os.getcwd() for path in sys.path))
    loopback = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    environment = {"OMP_NUM_THREADS": "1"} | os.environ | {"PYTHONPATH": paths}
    if loopback:
        environment["GLOO_SOCKET_IFNAME"] = loopback
    command = [sys.executable, "-m", "cs336lite.gloo", str(folder), str(rank), str(size), str(timeout)]
    with (folder / f"errors-{rank}").open("wb") as errors:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors, env=environment)


def _watch(ranks: Sequence[subprocess.Popen], folder: Path, timeout: float) -> None:
    """Wait until all ranks are done. Raises RanksError when one is not, or not in time."""
    deadline, started = time.monotonic() + START, False
    while any(process.poll() is None for process in ranks):
        if not started and all((folder / f"ready-{rank}").exists() for rank in range(len(ranks))):
            # a rank's own timeout comes first, and says what it waited for
            deadline, started = time.monotonic() + timeout + GRACE, True
        if any(process.poll() for process in ranks):
            deadline = min(deadline, time.monotonic() + GRACE)
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    codes = [process.poll() for process in ranks]
    if not any(codes) and None not in codes:
        return
    problems = {rank: _problem(folder, rank, code) for rank, code in enumerate(codes) if code != 0}
    first = min(problems, key=lambda rank: problems[rank][0])
    nearest = problems[first][0]
    others = [r for r, (kind, _) in problems.items() if r != first and (kind == nearest or min(kind, nearest) > 1)]
    more = "".join(f"; rank {rank} {problems[rank][1]}" for rank in others)
    raise c.RanksError(f"rank {first} {problems[first][1]}{more}")


def _problem(folder: Path, rank: int, code: int | None) -> tuple[int, str]:
    """How near to the cause a rank's end is (0: nearest), and in words."""
    if code is not None and code < 0:
        with suppress(ValueError):
            return 0, f"was killed by {signal.Signals(-code).name}"
        return 0, f"was killed by signal {-code}"
    told = folder / f"problem-{rank}"
    if told.exists():
        kind, text = pickle.loads(told.read_bytes())
        return kind, text
    if code is None:
        return 4, "was not done in time, and was ended"
    last = (folder / f"errors-{rank}").read_text(errors="replace").strip().splitlines()[-1:]
    return 0, f"ended with exit status {code} and no result{': ' + last[0] if last else ''}"


class Rank:
    """A rank's side: answers requests by `torch.distributed`."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size, self.step = rank, size, 0
        self.flying: list[tuple[dist.Work, Tensor]] = []
        self.trace: list[tuple] = []
        self.messages = 0

    def answer(self, request: c.Request) -> Any:
        if isinstance(request, c.Send):
            x = request.tensor.detach().clone(memory_format=torch.contiguous_format)
            self.send(_shape(x), request.to)
            self.send(x, request.to)
            self.count("Send", request.to, c.nbytes([x]))
            self.step += 1
            return None
        if isinstance(request, c.Receive):
            return self.receive(request.source)
        return self.collective(request)

    def send(self, x: Tensor, to: int) -> None:
        self.flying = [(work, kept) for work, kept in self.flying if not work.is_completed()]
        self.flying.append((dist.isend(x, to), x))

    def receive(self, source: int) -> Tensor:
        head = torch.zeros(16, dtype=torch.int64)
        dist.recv(head, source)
        number, dimensions, *shape = head.tolist()
        x = torch.empty(shape[:dimensions], dtype=DTYPES[number])
        dist.recv(x, source)
        return x

    def count(self, kind: str, to: int | None, size: int) -> None:
        event = c.Event(self.step, kind, self.rank, to, size)
        self.trace.append((event.step, kind, self.rank, to, size))
        self.messages += 1 if to is not None else c.event_messages(event, self.size)

    def collective(self, request: c.Request) -> Any:
        given = [x.detach().contiguous() for x in request.given()]
        if isinstance(request, c.Barrier):
            dist.barrier()
            return None
        if isinstance(request, c.Broadcast):
            return self.broadcast(request, given)
        made, rank, size = None, self.rank, self.size
        if isinstance(request, c.AllReduce):
            made = given[0].clone()
            dist.all_reduce(made, dist.ReduceOp.SUM if request.op == "sum" else dist.ReduceOp.MAX)
            count = c.ring_bytes([request] * size)[rank]
        elif isinstance(request, c.AllGather):
            made = self.exchange([given[0]] * size)
            count = c.nbytes(made) - c.nbytes([made[(rank + 1) % size]])
        else:  # every rank sends each part to the rank that it is for, and adds what it gets
            made = self.exchange(given)
            count = c.nbytes(given) - c.nbytes([given[rank]])
            if isinstance(request, c.ReduceScatter):
                made = sum(made[1:], made[0])
        self.count(type(request).__name__, None, count)
        self.step += c.ring_steps(request, size)
        return made

    def broadcast(self, request: c.Broadcast, given: list[Tensor]) -> Tensor:
        own = self.rank == request.source
        head = _shape(given[0]) if own else torch.zeros(16, dtype=torch.int64)
        dist.broadcast(head, request.source)
        number, dimensions, *shape = head.tolist()
        x = given[0].clone() if own else torch.empty(shape[:dimensions], dtype=DTYPES[number])
        dist.broadcast(x, request.source)
        last = (request.source - 1) % self.size
        self.count("Broadcast", None, 0 if self.rank == last else c.nbytes([x]))
        self.step += self.size - 1
        return x

    def exchange(self, parts: list[Tensor]) -> list[Tensor]:
        """Part i for rank i; what each rank gives this one. Shapes may differ in the first dimension."""
        heads = torch.zeros(self.size, dtype=torch.int64)
        dist.all_to_all_single(heads, torch.tensor([len(x) if x.ndim else 1 for x in parts]))
        shapes = [(n, *parts[0].shape[1:]) if parts[0].ndim else () for n in heads.tolist()]
        counts = [torch.Size(shape).numel() for shape in shapes]
        flat = torch.empty(sum(counts), dtype=parts[0].dtype)
        dist.all_to_all_single(flat, torch.cat([x.flatten() for x in parts]), counts, [x.numel() for x in parts])
        return [x.reshape(shape).clone() for x, shape in zip(flat.split(counts), shapes, strict=True)]


DTYPES = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


def _shape(x: Tensor) -> Tensor:
    """The dtype and the shape of a tensor as a message of its own, which tells the receiver what comes next."""
    return torch.tensor([DTYPES.index(x.dtype), x.ndim, *x.shape, *[0] * (14 - x.ndim)])


def main(folder: Path, rank: int, size: int, timeout: float) -> None:
    """Be one rank: write ``result-RANK``, or ``problem-RANK`` and exit with status 1."""
    threading.Thread(target=_end_with_starter, daemon=True).start()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    here, request, communicating = Rank(rank, size), None, True
    try:
        store = dist.FileStore(str(folder / "meeting"), size)
        store.set_timeout(timedelta(seconds=START))
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=timeout))
        (folder / f"ready-{rank}").touch()
        communicating = False
        packed, args, kwargs = pickle.loads((folder / "program").read_bytes())
        generator, answer = unpack(packed)(rank, size, *args, **kwargs), None
        if not isinstance(generator, Generator):
            raise TypeError(f"the program returned {type(generator).__name__}: a program is a generator function")
        while True:
            try:
                request = c.checked(generator.send(answer), rank, size)
            except StopIteration as end:
                result = end.value
                break
            communicating = True
            answer = here.answer(request)
            communicating = False
        request, communicating = "its last messages, which nobody received,", True
        for work, _ in here.flying:
            work.wait()
        request = "the end, which another rank did not reach"
        dist.barrier()
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0]
        late = communicating and "imed out" in str(error)  # gloo's words, upper and lower case
        text = (
            f"waited {timeout:g} seconds in {request}"
            if late
            else f"waited in {request} until it lost the others"
            if communicating
            else f"raised {type(error).__name__}: {line}"
        )
        traceback.print_exc()
        _write(folder, f"problem-{rank}", (2 if late else 3 if communicating else 1, text))
        os._exit(1)
    told = {"result": result, "trace": here.trace, "messages": here.messages, "steps": here.step}
    _write(folder, f"result-{rank}", told)
    dist.destroy_process_group()


def _write(folder: Path, name: str, value: object) -> None:
    (folder / f".{name}").write_bytes(pickle.dumps(value))
    (folder / f".{name}").rename(folder / name)


def _end_with_starter() -> None:
    while os.read(0, 1):  # ends when the starter does
        pass
    os._exit(2)


if __name__ == "__main__":
    from cs336lite.gloo import main

    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
