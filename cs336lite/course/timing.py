"""A limit on time for code of a student's that runs beside ours."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

MOST_WAITS = 60
"""Seconds that an import may go on beyond a limit."""


class Stopped(BaseException):
    """Raised in code that ran too long; no ``except Exception`` of that code catches it."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Stopped in the code below after this many seconds, where the platform has such an alarm.

    An import that is under way ends first: one that is cut off leaves half a module behind, and whatever uses it later
    fails. PyTorch imports parts of itself on their first use, which can take long on a busy machine.
    """
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    outside, waits = imports_under(sys._getframe()), 0

    def ring(_: int, frame: FrameType | None) -> None:
        nonlocal waits
        waits += 1
        if imports_under(frame) > outside and waits <= MOST_WAITS:
            return
        raise Stopped(f"stopped after {seconds:g} s: an endless loop, or too slow")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # again, for code that catches even this
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def imports_under(frame: FrameType | None) -> int:
    """How many calls of Python's import machinery have led to a frame."""
    count = 0
    while frame is not None:
        count += frame.f_code.co_filename == "<frozen importlib._bootstrap>"
        frame = frame.f_back
    return count
