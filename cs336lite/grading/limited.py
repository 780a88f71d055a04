"""A process in which our own code meets what strangers made, with limits on time, memory and output.

Reading a file, judging an answer, drawing a page: none runs a stranger's code, yet each can be made to take for ever or
to eat the machine. So each happens in a process that may be killed, and the caller hears which limit was passed:

    with Limited() as process:
        process.call("cs336lite.grading.submission:read", path)      # its value; raises Exceeded, Lost

The function is named, its arguments and what it gives are JSON. A generator may say how far it is: what it yields comes as
notes, and the limit on time counts from one note to the next. Nothing is pickled, nothing inherited but one channel.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from cs336lite.course.paths import CourseError
from cs336lite.grading.sharing import Stop, no_room

PR_SET_PDEATHSIG = 1
START = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from cs336lite.grading import put_off
put_off("cs336lite.course")  # whose own code imports what notebooks need
from cs336lite.grading.limited import serve
serve(int(sys.argv[1]))
"""


@dataclass(frozen=True)
class Limits:
    """What one call may use. Time is processor time, so that a busy machine changes nothing."""

    step_seconds: float = 15.0  # from one note to the next
    call_seconds: float = 45.0
    memory_bytes: int = 1 << 30  # beyond what the process has when it is ready
    answer_bytes: int = 32 << 20  # one note, or the value


class Exceeded(Exception):
    """A call passed a limit, through what it was given: ``what`` is "time", "memory", "output" or "crash"."""

    def __init__(self, what: str) -> None:
        super().__init__(
            {
                "time": "more processor time than it may",
                "memory": "more memory than it may",
                "output": "more than it may give",
                "crash": "it crashed the process",
            }[what]
        )
        self.what = what


class Lost(Exception):
    """The process ended through no fault of what it was given: it could not start, or somebody killed it."""


class Failed(Exception):
    """The function raised an exception that is no `CourseError`; the text is its type and its message."""


class Limited:
    """A process that runs named functions, one call at a time. After an exception it is to be closed."""

    PAUSE = 0.1  # seconds between two looks at the time it has used

    def __init__(self, limits: Limits = Limits()) -> None:
        self.limits = limits
        try:
            self.said = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        except OSError as error:
            raise Stop(no_room(error)) from None
        ours, theirs = socket.socketpair()
        path = json.dumps([os.path.abspath(folder) for folder in sys.path if folder])
        with theirs:
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-c", START, str(theirs.fileno()), path],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self.said,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},  # one processor each: several work at once
                )
            except OSError as error:
                ours.close()
                self.said.close()
                raise Lost(f"no process can be started ({error.strerror})") from None
        self.connection = Connection(ours.detach())
        self.clock = (~self.process.pid << 3) | 2  # Linux: its processor-time clock (see clock_getcpuclockid)
        self.used = self.step_began = self.call_began = 0.0
        self.bounded = True

    def begin(self, function: str, *args: Any, bounded: bool = True) -> None:
        """Start a call of ``module:function``. Whatever goes wrong is told by `receive`.

        The first ``bounded`` call fixes the memory that the process may have from then on; one that is not bounded, which
        meets nothing of a stranger's, may take its time.
        """
        self.bounded = bounded
        self.step_began = self.call_began = self.time()
        request = {"call": function, "args": args, "memory": self.limits.memory_bytes if bounded else 0}
        with contextlib.suppress(OSError):
            self.connection.send_bytes(json.dumps(request).encode())

    def receive(self) -> tuple[str, Any]:
        """What comes next, when something is there: ``("note", …)`` or ``("value", …)``.

        Raises Exceeded, Lost, Failed, and the function's own CourseError.
        """
        try:
            data = self.connection.recv_bytes(self.limits.answer_bytes)
        except EOFError:
            raise self.end() from None
        except OSError as error:
            # Connection raises a plain OSError for a message beyond the limit, and closes
            raise self.end() if error.errno is not None else self.kill("output") from None
        self.step_began = self.time()
        answer = json.loads(data)
        ((kind, value),) = answer.items()
        if kind == "memory":
            raise self.kill("memory")
        if kind == "course":
            raise CourseError(value)
        if kind == "failed":
            raise Failed(value)
        return kind, value

    def look(self) -> None:
        """Kill the process when it used up its time. Raises Exceeded."""
        now = self.time()
        if not self.bounded:
            return
        if now - self.step_began > self.limits.step_seconds or now - self.call_began > self.limits.call_seconds:
            raise self.kill("time")

    def call(self, function: str, *args: Any, bounded: bool = True) -> Any:
        """The value of a function. Raises Exceeded, Lost, Failed, and the function's own CourseError."""
        self.begin(function, *args, bounded=bounded)
        while True:
            while not self.connection.poll(self.PAUSE):
                self.look()
            kind, value = self.receive()
            if kind == "value":
                return value

    def time(self) -> float:
        """The processor time that it has used."""
        with contextlib.suppress(OSError):  # it is gone
            self.used = max(self.used, time.clock_gettime(self.clock))
        return self.used

    def kill(self, what: str) -> Exceeded:
        self.process.kill()
        self.process.wait()
        return Exceeded(what)

    def end(self) -> Exceeded | Lost:
        """Why it closed its channel. A crash is the fault of what it was given, a signal of others is not."""
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        if status < 0 and -status not in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            return Exceeded("crash")
        if status < 0:
            return Lost("its process was killed")
        self.said.seek(0, os.SEEK_END)
        self.said.seek(max(0, self.said.tell() - 2000))
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        return Lost(f"its process ended: {lines[-1] if lines else 'no reason given'}")

    def close(self) -> None:
        self.connection.close()  # at which an idle process ends by itself
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.said.close()

    def __enter__(self) -> Limited:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Shared:
    """One limited process for many calls of one kind, started when it is needed and again when it was lost.

    It may be used from several threads. ``ready`` names a function to call once at its start, without limits.
    """

    MOST_LOST = 3

    def __init__(self, limits: Limits = Limits(), ready: str = "") -> None:
        self.limits = limits
        self.ready = ready
        self.process: Limited | None = None
        self.lock = threading.Lock()

    def call(self, function: str, *args: Any) -> Any:
        """The value of a function. Raises Exceeded, Failed, CourseError, and Lost when it was lost several times."""
        with self.lock:
            for attempt in range(1, self.MOST_LOST + 1):
                try:
                    if self.process is None:
                        self.process = Limited(self.limits)
                        if self.ready:
                            self.process.call(self.ready, bounded=False)
                    return self.process.call(function, *args)
                except Lost:
                    self.give_up()
                    if attempt == self.MOST_LOST:
                        raise
                except (CourseError, Failed):
                    raise
                except BaseException:
                    self.give_up()
                    raise
        raise AssertionError("unreachable")

    def give_up(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.close()

    def close(self) -> None:
        with self.lock:
            self.give_up()


# -- inside -----------------------------------------------------------------------------------------------------


def serve(handle: int) -> None:
    """Answer calls until the channel is closed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # never outlive the caller
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the caller, who then closes the channel
    connection = Connection(handle)
    while True:
        try:
            request = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            for answer in answers(request):
                connection.send_bytes(json.dumps(answer).encode())
        except (BrokenPipeError, ConnectionError):
            return
        except MemoryError:
            connection.send_bytes(b'{"memory": null}')


def answers(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        function = resolve(request["call"])
        bound_memory(request["memory"])
        value = function(*request["args"])
        if hasattr(value, "__next__"):
            value = yield from notes(value)
        yield {"value": value}
    except CourseError as error:
        yield {"course": str(error)}
    except MemoryError:
        raise
    except Exception as error:
        yield {"failed": f"{type(error).__name__}: {error}"[:1000]}


def notes(generator: Iterator) -> Iterator[dict[str, Any]]:
    while True:
        try:
            yield {"note": next(generator)}
        except StopIteration as end:
            return end.value


def resolve(name: str) -> Callable:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def bound_memory(most: int) -> None:
    """Bound this process's address space by what it has now and ``most`` bytes, once; its children can lift that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if _bounded or not most:
        return
    _bounded.append(True)
    limit = address_space() + most
    for old in (soft, hard):
        limit = limit if old == resource.RLIM_INFINITY else min(limit, old)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


_bounded: list[bool] = []


def address_space() -> int:
    """The bytes of address space that this process uses now."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
