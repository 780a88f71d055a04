"""Who may read and write what a course keeps, and what is said when it cannot be written.

A course belongs to one person, or with nbgrader's ``c.CourseDirectory.groupshared = True`` to the group of its folder. That
line stands in ``nbgrader_config.py`` itself. Whatever the umask, nobody else gets anything.
"""

from __future__ import annotations

import errno
import os
import pwd
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cs336lite.course.paths import CourseError, write_atomic
from cs336lite.scratch import part_of


@dataclass(frozen=True)
class Rights:
    """The modes of a course's files, of its folders, and of the graded notebooks, which nobody edits."""

    file: int
    folder: int
    graded: int

    @property
    def shared(self) -> bool:
        return bool(self.file & stat.S_IWGRP)


PRIVATE = Rights(0o600, 0o700, 0o444)
SHARED = Rights(0o660, 0o2770, 0o660)
KEPT = ("autograded", "backups", "feedback", "hidden", "release", "source", "submitted", "text", "verdicts", ".secret")
"""The folders of a course that assistants share."""


class Stop(CourseError):
    """Something of the course itself fails, so that no other submission can be graded either before it is mended."""


NAMED = re.compile(r"^[^#\n]*groupshared", re.MULTILINE)


def rights_of(course: Path) -> Rights:
    """What the configuration of a course says. Raises CourseError, and what the configuration raises."""
    config = course / "nbgrader_config.py"
    try:
        if not NAMED.search(config.read_text(encoding="utf-8", errors="replace")):
            return PRIVATE  # which is known at once; nbgrader takes a second to import
    except FileNotFoundError:
        return PRIVATE
    except OSError as error:
        raise CourseError(f"{config} cannot be read: {error.strerror}") from None
    from cs336lite.grading.nbgrader_api import course_config

    return SHARED if course_config(course).CourseDirectory.get("groupshared") is True else PRIVATE


# -- writing ----------------------------------------------------------------------------------------------------

EVERYWHERE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}
"""Errors that the next file meets as well."""


@contextmanager
def told(folder: Path, *, stop: bool = True) -> Iterator[None]:
    """An OSError in here is told as one of writing into a folder: as a Stop, or with ``stop=False``, when it is one that
    only this folder has, as a CourseError."""
    try:
        yield
    except OSError as error:
        stop = stop or error.errno in EVERYWHERE
        raise (Stop if stop else CourseError)(cannot_write(folder, error)) from None


def cannot_write(folder: Path, error: OSError) -> str:
    """One sentence: which folder, why, and what to do."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in (errno.EACCES, errno.EPERM):
        owner = owner_of(folder)
        help = (f"it belongs to {owner}. " if owner else "") + TO_SHARE
    elif error.errno in EVERYWHERE:
        help = "make room there, then run the same command again: what was judged and recorded stays"
    else:
        help = "mend that, then run the same command again"
    return f"cannot write into {folder}: {reason}; {help}"


TO_SHARE = (
    "Assistants who share a course are in the group of its folder, have `c.CourseDirectory.groupshared = True` in "
    "nbgrader_config.py, and each of them runs `cs336lite seed` once, which opens to the others what is theirs"
)


def cannot_open(folder: Path, error: OSError, called: str = "") -> str:
    """One sentence on a folder whose names cannot be listed, by the name it is ``called``: why, and what to do."""
    owner = owner_of(folder) if error.errno in (errno.EACCES, errno.EPERM) else ""
    help = f"it belongs to {owner}. {TO_SHARE}" if owner else "make it readable for you"
    return f"{called or folder} cannot be opened ({error.strerror}): {help}"


def no_room(error: OSError) -> str:
    """One sentence on a temporary folder that cannot be written into."""
    folder = tempfile.tempdir or os.environ.get("TMPDIR") or "/tmp"
    return (
        f"cannot write into the temporary folder {folder}: {error.strerror or error}; make room there, or set TMPDIR to "
        "another folder, then run the same command again: what was judged and recorded stays"
    )


def owner_of(path: Path) -> str:
    """Whose a file or folder is, or the folder above it that exists; nothing when it is this user's own."""
    try:
        while not path.exists():
            path = path.parent
        uid = path.stat().st_uid
    except OSError:
        return ""
    if uid == os.geteuid():
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # of another machine, or no longer there
        return f"user {uid}"


def make_folder(folder: Path, rights: Rights) -> None:
    """Make a folder, and those above it that are missing, with a course's rights. Raises OSError."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        try:
            new.mkdir(mode=0o700)
        except FileExistsError:  # somebody else's work in this very moment
            continue
        if rights.shared:
            with suppress(PermissionError):
                os.chown(new, -1, new.parent.stat().st_gid)
            new.chmod(rights.folder)


def write(path: Path, data: str | bytes, rights: Rights, *, replace: bool = True) -> None:
    """Write a file of a course, whole or not at all; see `write_atomic`. Raises Stop when it cannot be written."""
    with told(path.parent):
        make_folder(path.parent, rights)
        write_atomic(path, data, rights.file, replace=replace)


@contextmanager
def staged(folder: Path, files: dict[str, str | bytes], mode: int) -> Iterator[None]:
    """Write files beside their places, and put them there at the end, the last one last; other files of the folder go.

    What can fail for want of room or permission has happened before the body is entered; nothing is changed when it
    raises. The folder exists.
    """
    with ExitStack() as stack:
        parts = {}
        for name, data in files.items():
            parts[name] = stack.enter_context(part_of(folder / name))
            parts[name].write_bytes(data.encode() if isinstance(data, str) else data)
            parts[name].chmod(mode)
        last = next(reversed(files))
        yield
        for path in folder.iterdir():
            if path not in parts.values() and path.name != last:
                remove(path)  # of an earlier submission, or half written
        for name, part in parts.items():
            if (folder / name).is_dir() and not (folder / name).is_symlink():
                remove(folder / name)
            os.replace(part, folder / name)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            remove(inner)
        path.rmdir()
    else:
        path.unlink()


def check_writable(*folders: Path, rights: Rights) -> None:
    """Make folders where they are missing. Raises Stop when one cannot be written into."""
    for folder in folders:
        with told(folder):
            make_folder(folder, rights)
            with tempfile.TemporaryFile(dir=folder):
                pass


# -- what is there already --------------------------------------------------------------------------------------


def settle(course: Path, rights: Rights) -> None:
    """Open to the group whatever of a shared course is this user's; what is others' they open themselves.

    nbgrader and people make folders with the rights of their umask. Links are not followed, nor is a file touched that has
    two names, of which one could be a stranger's.
    """
    if not rights.shared:
        return
    group = course.stat().st_gid
    handle = os.open(course, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        others = stat.S_IMODE(os.fstat(handle).st_mode) & 0o7  # an exchange may lie in it
        open_to_group(".", handle, group, rights.folder | others)
        for name in os.listdir(handle):
            if name.startswith("gradebook.db") or name.endswith((".py", ".toml")):
                open_to_group(name, handle, group, rights.file)
    finally:
        os.close(handle)
    for name in KEPT:
        settle_below(course, course / name, rights)


def settle_below(course: Path, top: Path, rights: Rights) -> None:
    """What `settle` does, for one folder of the course and what is in it."""
    if not rights.shared or top.is_symlink() or not top.is_dir():
        return
    group = course.stat().st_gid
    mode = rights.graded if top.is_relative_to(course / "autograded") else rights.file
    for _, _, files, handle in os.fwalk(top):
        open_to_group(".", handle, group, rights.folder)
        for name in files:
            open_to_group(name, handle, group, mode)


def open_to_group(name: str, folder: int, group: int, mode: int) -> None:
    """Give a file or folder of this user's in an open folder to a group, with these rights."""
    try:
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return
    try:
        found = os.fstat(handle)
        plain_file = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
        if found.st_uid == os.geteuid() and (plain_file or stat.S_ISDIR(found.st_mode)):
            if found.st_gid != group:
                os.fchown(handle, -1, group)
            if stat.S_IMODE(found.st_mode) != mode:
                os.fchmod(handle, mode)
    except OSError:  # somebody who is not in the group: then its members are told
        pass
    finally:
        os.close(handle)
