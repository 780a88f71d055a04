"""What a submission's process uses while it is asked, measured from outside: processor time, sleep, threads."""

from __future__ import annotations

import random
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from cs336lite.grading.places import Place


class TooMuch(Exception):
    """A limit was passed: ``what`` is "time", "idle" or "threads"."""

    def __init__(self, what: str) -> None:
        self.what = what


class Meter:
    """Watches one question to a child: its processor time, the time it sleeps, the number of its threads.

    It looks at moments that the child cannot know, so that one that sleeps is not awake just then.
    """

    PAUSE = 0.05  # on average
    FIRST_PAUSE = 0.002  # most answers come sooner, and nothing need be looked at

    def __init__(self, pid: int, seconds: float, idle_seconds: float, threads: int) -> None:
        self.clock = (~pid << 3) | 2  # Linux: the processor-time clock of another process (see clock_getcpuclockid)
        self.status = f"/proc/{pid}/stat"
        self.start = self.last = self.read()
        self.seconds, self.idle_seconds, self.threads = seconds, idle_seconds, threads
        self.idle = 0.0
        self.looked = time.monotonic()

    def read(self) -> float:
        try:
            return time.clock_gettime(self.clock)
        except OSError:  # the process is gone
            return getattr(self, "last", 0.0)

    def used(self) -> float:
        self.last = max(self.last, self.read())
        return self.last - self.start

    def look(self) -> None:
        """Raise TooMuch when a limit is passed."""
        before, now = self.last, time.monotonic()
        if self.used() > self.seconds:
            raise TooMuch("time")
        try:
            with open(self.status, "rb") as file:  # the process names itself in it, with any bytes
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            return  # the process is gone: the channel will tell
        if fields[0] != b"R":  # neither computing nor waiting for a processor
            self.idle += max(0.0, now - self.looked - (self.last - before))
        self.looked = now
        if self.idle > self.idle_seconds:
            raise TooMuch("idle")
        if int(fields[17]) > self.threads:
            raise TooMuch("threads")

    def wait(self, channel: socket.socket, writing: bool = False) -> None:
        """Return when the channel is ready. Raises TooMuch when a limit is passed first."""
        pause = self.FIRST_PAUSE
        while True:
            readers, writers = ([], [channel]) if writing else ([channel], [])
            readable, writable, _ = select.select(readers, writers, [], pause)
            if readable or writable:
                return
            self.look()
            pause = random.uniform(0.5, 1.5) * self.PAUSE


class CellMeter(Meter):
    """Watches cells as they are run, and has a statement stopped that takes more than its share of what there is.

    Args:
        where: tells which statement runs.
        stop: is told a place and "time" or "idle"; a statement that does not stop for it is one limit passed.
    """

    SHARE, GRACE = 0.75, 0.05

    def __init__(self, *limits: Any, where: Callable[[], Place], stop: Callable[[Place, str], None]) -> None:
        super().__init__(*limits)
        self.where, self.stop = where, stop
        self.at, self.begun, self.asked = where(), (0.0, 0.0), ""

    def look(self) -> None:
        super().look()
        now, place, limits = (self.last - self.start, self.idle), self.where(), (self.seconds, self.idle_seconds)
        if place != self.at:
            self.at, self.begun, self.asked = place, now, ""
        for what, spent, begun, limit in zip(("time", "idle"), now, self.begun, limits):
            allowed = self.SHARE * (limit - begun)
            if spent - begun > allowed + self.GRACE * limit:
                raise TooMuch(what)
            if spent - begun > allowed and not self.asked:
                self.asked = what
                self.stop(place, what)
