"""Processes that are none (see `pretend_processes`): whose turn it is to compute, and copies as pickling makes them."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import pickle
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

MOST_FAILURES = 8  # that are remembered
PAUSE = 0.05  # seconds after which a thread that waits looks whether it was terminated

# -- turns --------------------------------------------------------------------------------------------------------------

_turn = threading.Lock()
_here = threading.local()  # of a thread: the process that it stands for, and whether it has its turn


def this_process() -> Any:
    return getattr(_here, "process", None)


def mine() -> bool:
    """Whether this thread stands for a process and computes."""
    return getattr(_here, "turn", False)


def run_for(running: Any) -> None:
    """Let this thread end when a process is terminated."""
    _here.running = running


@contextlib.contextmanager
def as_process(process: Any, in_turn: bool = False) -> Iterator[None]:
    """Let this thread stand for a process; when asked for, only when no other such thread computes."""
    before = getattr(_here, "process", None)
    _here.process = process
    if in_turn and not mine():
        _turn.acquire()
        _here.turn = True
        try:
            yield
        finally:
            _here.process, _here.turn = before, False
            _turn.release()
    else:
        try:
            yield
        finally:
            _here.process = before


@contextlib.contextmanager
def stepping_aside() -> Iterator[None]:
    """Let others compute while this thread waits."""
    held = mine()
    if held:
        _here.turn = False
        _turn.release()
    try:
        yield
    finally:
        if held:
            _turn.acquire()
            _here.turn = True


_failures: list[BaseException] = []  # that ended processes


def failed(error: BaseException) -> None:
    """Note what ended a process."""
    _failures[:] = [*_failures, error][-MOST_FAILURES:]


def alone() -> bool:
    """Whether no other thread is there that could end a wait: that of tqdm, which looks after bars, cannot."""
    others = (thread for thread in threading.enumerate() if thread is not threading.current_thread())
    return all(type(thread).__name__ == "TMonitor" for thread in others)


def no_end() -> BaseException:
    """Why a wait has no end: what ended a process, else that all have ended."""
    if _failures:
        first = _failures[0]
        _failures.clear()
        return first
    error = OSError(errno.EDEADLK, "this waits for ever: every process that was started has ended")
    error.graded_without = "an end"  # the worker tells it
    return error


def breathe() -> None:
    """Whoever asks over and over whether something is there lets it come."""
    if mine():
        with stepping_aside():
            time.sleep(0.0005)


def wait_for(attempt: Callable[[float | None], Any], timeout: float | None) -> Any:
    """The first answer of ``attempt(seconds)`` that is not None; None when the time is over, or when terminated.

    Without a timeout, and with nobody else there, it raises: such a wait has no end.
    """
    deadline = None if timeout is None else time.monotonic() + max(0.0, timeout)
    with stepping_aside():
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            answer = attempt(PAUSE if left is None else min(left, PAUSE))
            if answer is None and left is None and alone():
                answer = attempt(0.0)  # it may have come just now
                if answer is None:
                    raise no_end()
            if answer is not None or left == 0.0:
                return answer
            if getattr(getattr(_here, "running", None), "terminated", False):  # see `pretend_processes.Running`
                raise SystemExit


# -- copies -------------------------------------------------------------------------------------------------------------


class Shared:
    """What all processes have in common: passing it on makes no copy."""


_passed: dict[int, Any] = {}
_numbers = itertools.count()
SAME = (Shared, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type, io.IOBase, threading.local)
PLAIN = (str, bytes, int, float, bool, complex, type(None))


def taken(number: int) -> Any:
    return _passed.pop(number)


class Copier(pickle.Pickler):
    def reducer_override(self, thing: Any) -> Any:
        if thing is taken:
            return NotImplemented
        if isinstance(thing, SAME) or hasattr(thing, "_shared_value") or type(thing).__module__ == "_thread":
            number = next(_numbers)
            _passed[number] = thing
            return taken, (number,)
        return NotImplemented


def copied(value: Any) -> Any:
    """A value as another process would get it; itself where no copy can be made."""
    if type(value) in PLAIN:
        return value
    file = io.BytesIO()
    try:
        Copier(file, pickle.HIGHEST_PROTOCOL).dump(value)
        return pickle.loads(file.getbuffer())
    except Exception:
        return value
