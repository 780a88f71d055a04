"""How the students of an edition hand in: what ``cs336lite release`` writes into it."""

from __future__ import annotations

import sys
from pathlib import Path

from cs336lite.course.handin import COURSE_ID, HandIn
from cs336lite.course.paths import CourseError, is_student_edition


def hand_in(root: Path, exchange: Path | None = None, course_id: str | None = None) -> HandIn | None:
    """As asked for, else as the course is configured; None where no exchange was chosen.

    Raises:
        CourseError: the exchange lies inside the course, a path or name that cannot be one, or a name without exchange.
    """
    if is_student_edition(root):
        return None  # `release` says what is wrong
    chosen, named = configured(root / "assignments")
    if exchange is None:
        if chosen is None and course_id is not None:
            raise CourseError("--course-id is the course's name in an exchange: say --exchange, too")
        return HandIn(chosen, course_id or named) if chosen else None
    exchange = exchange.expanduser().absolute()
    if exchange.resolve().is_relative_to(root.resolve()):
        raise CourseError(
            f"the exchange {exchange} lies inside the course, where no student should get: name another one"
        )
    return HandIn(exchange, course_id or named)


def configured(course: Path) -> tuple[Path | None, str]:
    """The exchange that was chosen for the course, and the course's name in it."""
    if sys.platform == "win32" or not (course / "nbgrader_config.py").exists():
        return None, COURSE_ID
    from cs336lite.grading.exchange import of_course
    from cs336lite.grading.nbgrader_api import course_config

    found = of_course(course, course_config(course))
    return (found.folder if found.chosen else None), found.course_id


def told(where: Path, how: HandIn | None) -> str:
    """What was written, and how its students hand in."""
    if how is None:
        return (
            f"student edition: {where}\nits README asks students to upload their notebooks (--exchange: nbgrader's way)"
        )
    return f"student edition: {where}\nits students hand in through {how.exchange}, as {how.course_id}"
