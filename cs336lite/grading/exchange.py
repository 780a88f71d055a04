"""The exchange of the course, and who else on the machine gets into the course.

A class hands in through a folder that every student can write to. It lies outside the course, whose folder nobody else
need ever enter: until an instructor names one, it is a folder beside ``assignments/`` for this user alone. What others
must not see is closed whenever nbgrader or the grader starts here, and where that is not possible, they refuse.
"""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs336lite.course.handin import COURSE_ID, problem_of_course_id
from cs336lite.course.paths import CourseError

VARIABLE = "CS336LITE_EXCHANGE"
FOLDERS = ("hidden", "source", "text", "submitted", "autograded", "feedback", "verdicts", ".secret", "backups")
ROOMS = (*FOLDERS, "gradebook.db")
"""What no student may read or change, in the course's folder."""
WHERE = f"name another one in assignments/nbgrader_config.py (c.Exchange.root), or in {VARIABLE}"


@dataclass(frozen=True)
class Exchange:
    """Where a class hands in, and under which name of the course; ``chosen`` by a person, or the private one."""

    folder: Path
    course_id: str
    chosen: bool
    groupshared: bool = False


def private_exchange(course: Path) -> Path:
    """The exchange of a course for which nobody chose one: for one user, who plays instructor and students."""
    return course.parent / "exchange"


def prepare(config: Any, course: Path) -> None:
    """Give a course's configuration its exchange, unless it has one, and close to others what is not for them."""
    if "course_id" not in config.CourseDirectory:
        config.CourseDirectory.course_id = COURSE_ID
    private = private_exchange(course)
    if named := os.environ.get(VARIABLE):
        config.Exchange.root = str(Path(named).expanduser().absolute())
    elif "root" not in config.Exchange:
        config.Exchange.root = str(private)
        with suppress(OSError):  # whoever may not write here releases nothing either
            private.mkdir(mode=0o700, exist_ok=True)
    for name, kind in (("release_assignment", "ReleaseAssignment"), ("collect", "Collect")):
        if name not in config.ExchangeFactory:
            config.ExchangeFactory[name] = f"cs336lite.grading.exchange_commands.{kind}"
    close(course, Path(config.Exchange.root), group=None)


def of_course(course: Path, config: Any) -> Exchange:
    """The exchange as the whole configuration names it.

    Raises:
        CourseError: the name of the course cannot be one in an exchange.
    """
    folder = Path(config.Exchange.root)
    course_id = str(config.CourseDirectory.course_id)
    if problem := problem_of_course_id(course_id):
        raise CourseError(f"c.CourseDirectory.course_id in {course / 'nbgrader_config.py'} {problem}")
    shared = bool(config.CourseDirectory.get("groupshared", False))
    return Exchange(folder, course_id, folder != private_exchange(course), shared)


# -- who gets in ------------------------------------------------------------------------------------------------


def reached(path: Path, *, group: bool = False) -> bool:
    """Whether other users of the machine reach a file or folder: they can pass all above it, and do something with it.

    With ``group``, whether anybody but its owner may; that errs on the safe side, since groups differ from folder to
    folder.
    """
    passes = stat.S_IXOTH | (stat.S_IXGRP if group else 0)
    try:
        path = path.resolve(strict=True)
        above = all(folder.stat().st_mode & passes for folder in path.parents)
        return above and bool(path.stat().st_mode & (0o077 if group else 0o007))
    except OSError:
        return False


def reached_rooms(course: Path, *, group: bool = False) -> list[Path]:
    return [course / name for name in ROOMS if reached(course / name, group=group)]


def close(course: Path, exchange: Path, *, group: bool | None) -> None:
    """Close what others reach of a course, as far as this user can; links are left alone.

    Args:
        group: whether the group shares the course (``groupshared``), or None while that is not known: then what the
            group may do stays as it is.
    """
    if os.name != "posix":
        return
    for path in (course / name for name in ROOMS):
        if reached(path, group=group is False):
            restrict(path, group)
    for path in collected(course):
        restrict(path, group)
    if reached(course) and not exchange.resolve().is_relative_to(course):
        restrict(course, None)


def collected(course: Path) -> Iterator[Path]:
    """The folders of submissions: ``nbgrader collect`` leaves them open to everybody, as they were in the exchange."""
    for student in children(course / "submitted"):
        yield student
        yield from children(student)


def children(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def restrict(path: Path, group: bool | None) -> None:
    """Take from others what they may do with a file or folder; give it to the group, take it from it, or leave that."""
    with suppress(OSError):  # of another owner: `refusal` says so where it matters
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return
        mode = stat.S_IMODE(found.st_mode) & ~0o007
        if group is False:
            mode &= ~0o2070
        elif group:
            mode |= 0o2070 if stat.S_ISDIR(found.st_mode) else 0o060
        if mode != stat.S_IMODE(found.st_mode):
            path.chmod(mode)


def refusal(course: Path, exchange: Path) -> str:
    """Why nothing is done while others reach what they must not, and the command that mends it; empty when all is well."""
    root = course.parent
    if rooms := reached_rooms(course):
        named = ", ".join(f"{room.name}/" if room.is_dir() else room.name for room in rooms)
        command = shlex.join(["chmod", "-R", "o-rwx", *map(str, rooms)])
        return f"other users of this machine can get at {named} in {course}: their owner has to run `{command}`"
    if exchange.resolve().is_relative_to(root.resolve()) and reached(exchange):
        command = shlex.join(["chmod", "o-rwx", str(exchange)])
        return (
            f"the exchange {exchange} lies inside the course: whoever can hand in there can read the solutions in {root}, "
            f"too; {WHERE}, outside of the course, or keep it for yourself with `{command}`"
        )
    return ""


def guard(course: Path, exchange: Exchange) -> None:
    """Close the course to others, and raise CourseError where they still get at it."""
    close(course, exchange.folder, group=exchange.groupshared)
    if not exchange.chosen and exchange.folder.is_dir():
        restrict(exchange.folder, exchange.groupshared)
    if problem := refusal(course, exchange.folder):
        raise CourseError(problem)


# -- doctor -----------------------------------------------------------------------------------------------------

ENTER = """
import os, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for path in sys.argv[1:]:
    try:
        os.listdir(path) if os.path.isdir(path) else open(path).close()
    except OSError:
        continue
    print(path)
"""


def entered(paths: list[Path]) -> list[Path]:
    """Which files and folders another user reads: tried as one where we are root, else seen from the permissions."""
    if os.name != "posix":
        return []
    found = {path for path in paths if reached(path)}
    if os.geteuid() == 0:
        command = [sys.executable, "-I", "-S", "-c", ENTER, *map(str, paths)]
        with suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, cwd="/")
            found |= set(map(Path, done.stdout.splitlines()))
    return [path for path in paths if path in found]


def hand_in_problem(exchange: Exchange) -> str:
    """Why students cannot hand in through the exchange; empty when they can."""
    if not exchange.chosen:
        return f"{exchange.folder} is for you alone; for a class on this machine {WHERE}"
    if not exchange.folder.is_dir():
        return f"there is no {exchange.folder}: make it with `mkdir -m 777`"
    if not reached(exchange.folder):
        return f"others cannot enter {exchange.folder}: see the permissions of it and of the folders above it"
    if not exchange.folder.stat().st_mode & stat.S_IWOTH:
        return (
            f"nbgrader wants {exchange.folder} to be writable for all: `chmod 777 {shlex.quote(str(exchange.folder))}`"
        )
    return ""
