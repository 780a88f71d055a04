"""nbgrader's commands of the exchange, which begin and end with a closed course (see `exchange`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nbgrader.exchange import ExchangeError
from nbgrader.exchange.default import ExchangeCollect, ExchangeReleaseAssignment

from cs336lite.course.paths import CourseError
from cs336lite.grading.exchange import WHERE, Exchange, guard, private_exchange


class Guarded:
    """An exchange command that begins and ends with a closed course: it stands before one of nbgrader's."""

    coursedir: Any
    root: str
    fail: Callable[[str], None]

    def start(self) -> None:
        self.guard()
        super().start()  # type: ignore[misc]
        self.guard()

    def guard(self) -> None:
        course = Path(self.coursedir.root)
        folder = Path(self.root)
        chosen = folder != private_exchange(course)
        try:
            guard(course, Exchange(folder, self.coursedir.course_id, chosen, self.coursedir.groupshared))
        except CourseError as error:
            self.fail(str(error))


class ReleaseAssignment(Guarded, ExchangeReleaseAssignment):
    """nbgrader's own, but for the private exchange, which stays closed."""

    def ensure_root(self) -> None:
        if Path(self.root) != private_exchange(Path(self.coursedir.root)):
            super().ensure_root()
            return
        try:
            Path(self.root).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ExchangeError(f"{self.root} cannot be made: {error.strerror}; {WHERE}") from None


class Collect(Guarded, ExchangeCollect):
    """nbgrader's own; what it leaves open to everybody is closed."""
