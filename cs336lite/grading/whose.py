"""Whose page it is, and when it was handed in: what the gradebook says of one submission, for its head."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from nbgrader.api import Gradebook, MissingEntry
from sqlalchemy.exc import SQLAlchemyError

from cs336lite.course.border import plain


def whose(course: dict[str, Any]) -> dict[str, str]:
    """What is known of the submission that nbgrader is at: ``student``, ``handed_in``, ``due``, ``late``.

    ``course`` holds nbgrader's db_url, student and assignment. What is not known is not there: one that was dropped into
    ``submitted/`` has no time, an assignment may have no due date. Times are UTC.
    """
    if not all(course.get(key) for key in ("db_url", "student", "assignment")):
        return {}
    found = {"student": plain(course["student"])}
    try:
        with Gradebook(course["db_url"]) as gradebook:
            submission = gradebook.find_submission(course["assignment"], course["student"])
            name = plain(" ".join(filter(None, [submission.student.first_name, submission.student.last_name])))
            if name:
                found["student"] = f"{name} ({found['student']})"
            handed_in, due, extension = submission.timestamp, submission.duedate, submission.extension
            late = submission.total_seconds_late
    except (MissingEntry, SQLAlchemyError):
        return found
    if handed_in:
        found["handed_in"] = moment(handed_in)
    if due:
        found["due"] = moment(due)
        if extension and extension > timedelta(0):
            found["due"] += f", with an extension of {duration(extension.total_seconds())}"
    if handed_in and due and late > 0:
        found["late"] = duration(late)
    return found


def moment(when: datetime) -> str:
    """A time of nbgrader's, which is in UTC: ``"27 November 2026, 23:01 UTC"``."""
    return f"{when.day} {MONTHS[when.month - 1]} {when.year}, {when:%H:%M} UTC"


MONTHS = "January February March April May June July August September October November December".split()


def duration(seconds: float) -> str:
    """``"2 days 3 hours"``: at most two units, whole, rounded down; less than a minute as seconds."""
    left, words = int(seconds), []
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, left = divmod(left, length)
        if count and not (unit == "second" and words):
            words.append(f"{count} {unit}{'s' if count > 1 else ''}")
    return " ".join(words[:2]) or "less than a second"
