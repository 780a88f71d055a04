"""Who may change a course: one run for each assignment, and nobody else while the seed or the gradebook is exchanged."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cs336lite.course.paths import CourseError
from cs336lite.grading import sharing


@contextmanager
def only_writer(course: Path, assignment: str = "", rights: sharing.Rights = sharing.PRIVATE) -> Iterator[None]:
    """Hold the right to record an assignment, beside runs that record others; without one, the right to change anything.

    The locks end with the process that holds them. Raises CourseError while another process holds the right.
    """
    folder = course / ".secret"
    with ExitStack() as stack:
        held = hold(folder / "recording", fcntl.LOCK_SH if assignment else fcntl.LOCK_EX, rights, stack)
        if held and assignment:
            held = hold(folder / f"recording-{assignment}", fcntl.LOCK_EX, rights, stack)
        if not held:
            what = f"{assignment} " if assignment else ""
            raise CourseError(f"another `cs336lite` is recording {what}in {course}: wait until it has ended")
        yield


def hold(path: Path, kind: int, rights: sharing.Rights, stack: ExitStack) -> bool:
    with sharing.told(path.parent):
        sharing.make_folder(path.parent, rights)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, rights.file)
        stack.callback(os.close, handle)
        if rights.shared:
            with suppress(PermissionError):  # another assistant's
                os.fchmod(handle, rights.file)
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
