"""What a solution's function returned to a driver that then could not use it: mostly None, for want of a ``return``.

The driver is the course's, so an exception that arises in its own lines says little to a student. It is run once more, and
watched. The grader copies this file beside its worker and loads it there without the package.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

LONGEST = 1.0  # seconds of a call that is made once more
GENERATOR = 0x20 | 0x80 | 0x200  # flags of code that returns no value but a generator, a coroutine, or both
NOT_TAKEN = re.compile(r"(\w+)\(\) (?:missing|takes|got|expected)\b")


def first_cause(error: Exception) -> Exception:
    """The StopIteration that ended a generator of the solution's, where Python makes a RuntimeError of it."""
    inner = error.__cause__
    return inner if type(error) is RuntimeError and isinstance(inner, StopIteration) else error


def in_solution(error: BaseException, names: dict) -> bool:
    """Whether an exception came through code of the solution, which has these global names."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals is names:
            return True
        trace = trace.tb_next
    return False


def not_used(error: Exception, names: dict, again: Callable[[], Any], seconds: float) -> tuple[str, Any] | None:
    """The function that gave what could not be used, and its value: ``("encode", None)``; None where that is not known.

    ``error`` arose as ``again`` was called, after so many seconds.
    """
    if seconds > LONGEST or in_solution(error, names):
        return None
    said = str(error)
    if not isinstance(error, (TypeError, AttributeError, ValueError, KeyError, IndexError)):
        return None
    found = last_return(again, names)
    if found is None:
        return None
    kind = type(found[1]).__name__
    named = re.search(rf"\b{re.escape(kind)}\b", said) is not None
    return found if named or (kind in ("tuple", "list") and "unpack" in said) else None


def not_taken(error: BaseException, names: dict) -> str:
    """The function of the solution that does not take the arguments it was called with; else empty."""
    if type(error) is not TypeError or in_solution(error, names):
        return ""
    found = NOT_TAKEN.search(str(error))
    return found[1] if found else ""


def last_return(call: Callable[[], Any], names: dict) -> tuple[str, Any] | None:
    """The function of the solution that was the last to return to other code, and its value."""
    found: list[tuple[str, Any]] = []

    def watch(frame: Any, event: str, value: Any) -> None:
        code = frame.f_code
        if event != "return" or frame.f_globals is not names or code.co_flags & GENERATOR:
            return
        inner = frame.f_back is not None and frame.f_back.f_globals is names
        if not inner and not code.co_name.startswith(("<", "__init", "__new", "__set", "__del")):
            found[:] = [(code.co_name, value)]

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        call()
    except Exception:
        pass
    finally:
        sys.setprofile(before)
    return found[0] if found else None
