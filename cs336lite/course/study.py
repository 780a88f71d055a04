"""``cs336lite study``: ``my/``, a self-learner's own copy of the course inside the clone, in the same environment.

It is a student edition that git ignores: assignments without answers, stubs in place of graded modules, the lectures to
write in. What runs in there imports its own package (`cs336lite/__init__.py`), what runs outside the course's. So a
``git pull`` never meets a reader's work, and the next ``cs336lite study`` brings ``my/`` up to what was pulled.
"""

from __future__ import annotations

import os
from pathlib import Path

from cs336lite import scratch
from cs336lite.course.paths import MY, CourseError, full_repository, is_student_edition
from cs336lite.course.release import write_study
from cs336lite.course.update import ORIGIN, update

__all__ = ["study"]


def study(root: Path, *, dry_run: bool = False) -> str:
    """Make ``my/`` in the full repository, or bring it up to date; what was done, in a paragraph.

    Raises:
        CourseError: this is a student edition, or a folder ``my`` is there that is none of ours.
    """
    root = full_repository(root) or root
    if is_student_edition(root):
        raise CourseError(
            "this is a student edition already: work in it, and bring it up to date with `cs336lite update`"
        )
    mine = root / MY
    there = os.path.lexists(mine)
    if there and not is_student_edition(mine):
        raise CourseError(f"{mine} is there and is no copy of the course: rename it, then run `cs336lite study` again")
    if dry_run and not there:
        return f"{mine} would be made: your own copy of the course, without answers"
    scratch.sweep(root)
    with scratch.Scratch("study", root) as temporary:
        edition = temporary / "edition"
        write_study(root, edition)
        if there:
            return update(mine, edition, dry_run=dry_run).removesuffix(f"\n{ORIGIN}")
        os.replace(edition, mine)
    return (
        f"{mine} is your own copy of the course, without answers; git ignores it, and it uses this environment.\n"
        f"`make study` opens it. In a terminal: cd {MY}, then `cs336lite status`"
    )
