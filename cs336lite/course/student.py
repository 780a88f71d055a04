"""A solution in this very process, as a check asks it, and what to say of what it raises."""

from __future__ import annotations

import linecache
import reprlib
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from cs336lite.course.border import plain, python_kinds
from cs336lite.course.regions import UNSOLVED
from cs336lite.course.returned import first_cause, in_solution, not_taken, not_used
from cs336lite.scratch import Scratch


class Fail(Exception):
    """Raised by a check whose answer is wrong; the text is shown to the student and names the misconception."""


class StudentError(Exception):
    """The student's code did not give an answer: it raised, is missing, or ran out of its budget.

    ``kind`` is the exception's type name (``"TypeError"``; in the grader only where `known_kind` knows it), or one of
    ``"Missing"``, ``"Unsolved"``, ``"TimeLimit"``, ``"MemoryLimit"``, ``"Died"``, ``"BadAnswer"``. ``kinds`` names the
    exceptions of Python of which the student's is one, so that a class of the student's own counts as what it is; empty
    where no exception was raised. From the grader the text never holds the exception's own message, which could carry
    hidden inputs.
    """

    def __init__(self, kind: str, message: str, kinds: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.kinds = tuple(kinds)

    def is_a(self, *names: str) -> bool:
        """Whether it is an exception of one of these types, or of a subclass: ``error.is_a("ValueError")``."""
        return self.kind in names or any(name in names for name in self.kinds)


class LocalStudent:
    """A solution in this very process, for ``cs336lite check`` and for tests: no wall, no limits.

    ``namespace`` maps names to what the solution defines: ``vars(module)`` or a notebook's ``user_ns``.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace = Namespace(namespace)
        self._scratch: Scratch | None = None
        self._files = 0

    def run(self, driver: Callable, *args: Any) -> Any:
        start = time.process_time()
        try:
            return driver(self.namespace, *args)
        except (Fail, StudentError):
            raise
        except Exception as error:
            took = time.process_time() - start
            raise explain(error, vars(self.namespace), lambda: driver(self.namespace, *args), took) from error

    def cpu_seconds(self, driver: Callable, *args: Any) -> float:
        return self.timed(driver, *args)[1]

    def timed(self, driver: Callable, *args: Any) -> tuple[Any, float]:
        start = time.process_time()
        answer = self.run(driver, *args)
        return answer, time.process_time() - start

    def yardstick(self, driver: Callable, *args: Any) -> float:
        start = time.process_time()
        driver(Namespace({}), *args)
        return time.process_time() - start

    def file(self, data: bytes) -> str:
        if self._scratch is None:
            self._scratch = Scratch("check")
        self._files += 1
        path = self._scratch.path / f"input-{self._files}"
        path.write_bytes(data)
        return str(path)

    def close(self) -> None:
        """Remove the files; they also go with the student itself."""
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None


class Namespace:
    """Attribute access to the names a solution defines; an undefined one is a `StudentError`."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.__dict__ = names

    def __getattr__(self, name: str) -> Any:
        raise StudentError(
            "Missing", f"`{name}` is not defined: has its cell been deleted, renamed or left with an error?"
        )


def explain(error: Exception, names: dict[str, Any], again: Callable[[], Any], seconds: float) -> StudentError:
    """The `StudentError` for an exception of the student's code in this process, where nothing is secret.

    ``names`` are the global names of that code; ``again`` repeats the call, which took so many seconds.
    """
    if isinstance(error, NotImplementedError) and (
        not error.args or UNSOLVED in str(error)
    ):  # torch has some of its own
        frame = last_frame(error, names)
        what = f"`{frame.tb_frame.f_code.co_qualname}`" if frame else "its code"
        return StudentError("Unsolved", f"{UNSOLVED}: {what} still raises NotImplementedError")
    error = first_cause(error)
    text = said(error)
    if in_solution(error, names):
        message = f"your code raised {text}{line_of(error, names)}"
    elif name := not_taken(error, names):
        message = f"`{name}` does not take the arguments that it is given here: {text}"
    elif found := not_used(error, names, again, seconds):
        name, value = found
        gave = "None: is a `return` missing?" if value is None else f"{short(value)}, which cannot be used here: {text}"
        message = f"`{name}` returned {gave}"
    else:
        message = f"what your code gave could not be used: {text}"
    return StudentError(type(error).__name__, message, kinds_of(error))


def said(error: BaseException) -> str:
    """An exception's type and text, on one line."""
    text = plain(error, 160)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def line_of(error: BaseException, names: dict[str, Any]) -> str:
    """The last line of the student's that an exception passed: its function, its place, and what stands there."""
    last = last_frame(error, names)
    if last is None:
        return ""
    code, number = last.tb_frame.f_code, last.tb_lineno
    source = plain(linecache.getline(code.co_filename, number), 80)
    shown = f": {source}" if source else ""
    return f" (in `{code.co_name}`, {place(code.co_filename, number)}{shown})"


def last_frame(error: BaseException, names: dict[str, Any]) -> TracebackType | None:
    """Where an exception came by last in code that has these global names."""
    trace, last = error.__traceback__, None
    while trace is not None:
        last = trace if trace.tb_frame.f_globals is names else last
        trace = trace.tb_next
    return last


def place(filename: str, line: int) -> str:
    """How a message calls a line of a solution: of a named cell or a file, where its code was run from there."""
    for start, of in (("<cell ", "of cell "), ("<file ", "of ")):
        if filename.startswith(start):
            return f"line {line} {of}{filename[len(start) : -1]}"
    return f"line {line} of its cell"


def short(value: Any) -> str:
    return plain(reprlib.repr(value), 60)


def kinds_of(error: BaseException) -> list[str]:
    """The exceptions of Python of which this one is one, the nearest first."""
    return python_kinds([kind.__name__ for kind in type(error).__mro__])
