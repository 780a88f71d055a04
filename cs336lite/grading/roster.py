"""Whose folders are graded: the students that the gradebook knows, and when a folder may make a new one.

c.Autograde.create_student = False     never: an unknown folder is a question
c.Autograde.create_student = True      always, and the run says whom it added
not set                                always, as long as the gradebook has no list that somebody imported: as soon as
                                       a student has a name, an address or an id of a platform, an unknown folder is a
                                       question, be it a misspelt one or a student's who has left
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cs336lite.grading.find import listed


class Roster:
    """The students of a gradebook, as they were before a run."""

    def __init__(self, gradebook: Any, config: Any) -> None:
        students = gradebook.students
        self.known = {student.id for student in students}
        imported = any(s.first_name or s.last_name or s.email or s.lms_user_id for s in students)
        self.open = bool(config.Autograde.get("create_student", not imported))

    def strangers(self, students: Iterable[str], add: bool = False) -> list[str]:
        """Those that are not on the roster and are not put there; none with ``add``."""
        return [] if add or self.open else sorted(set(students) - self.known)

    def added(self, students: Iterable[str]) -> str:
        """What to say of students that a run has put on a roster that others were on; empty when there are none."""
        new = sorted(set(students) - self.known)
        return f"new in the gradebook: {listed(new)}" if new and self.known else ""


def question(strangers: list[str], assignment: str) -> str:
    """What to ask of folders that belong to nobody on the roster."""
    one = len(strangers) == 1
    who = f"{listed(strangers)} {'is' if one else 'are'} not on the roster (misspelt, or no longer in the class?)"
    add = f"`cs336lite grade {assignment} --add-students` adds {'it' if one else 'them'}"
    return f"{who}: rename or remove the folder{'' if one else 's'} in submitted/, or {add} to the gradebook"
