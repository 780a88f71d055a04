"""Temporary folders and half-written files: gone when their work is done, and after a kill at the next start.

Whoever works in one holds it locked, and a lock ends with its process, however that ends. So what nobody holds is left
over and may go. This is safe beside other running processes, also where containers share a folder.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import stat
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks: there only what is old is left over
    fcntl = None

PURPOSES = ("bench", "build", "check", "course", "release", "tests", "worker")
FOLDER = re.compile(rf"cs336lite-(?:{'|'.join(PURPOSES)})-\d+-\w{{8}}")  # the number is the maker's process, for people
OLD = 86_400  # seconds


class Scratch:
    """A new folder of this user's alone, in use until `close`, or until this process ends.

    As a context manager it gives the folder's path.

    Args:
        purpose: one of `PURPOSES`.
        parent: where to make it; by default the temporary directory.
    """

    def __init__(self, purpose: str, parent: Path | None = None) -> None:
        prefix = f"cs336lite-{purpose}-{os.getpid()}-"
        name, handle = _in_use(lambda: tempfile.mkdtemp(prefix=prefix, dir=parent))
        self.path = Path(name)
        self._end = weakref.finalize(self, _end, name, handle, os.getpid())

    def close(self) -> None:
        """Remove the folder and all that is in it."""
        self._end()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def _end(name: str, handle: int | None, maker: int) -> None:
    if os.getpid() == maker:  # a fork of the maker has no business with it
        shutil.rmtree(name, ignore_errors=True)
        _let_go(handle)


def sweep(parent: Path | None = None) -> None:
    """Remove the folders of `Scratch` whose processes were killed."""
    with suppress(OSError), os.scandir(parent or tempfile.gettempdir()) as entries:
        found = [entry.path for entry in entries if FOLDER.fullmatch(entry.name)]
        for name in found:
            _remove_left_over(name)


@contextmanager
def part_of(path: Path) -> Iterator[Path]:
    """A new empty file in the folder of ``path``, to be written and renamed; removed at the end where it still is.

    It is ``NAME.XXXXXXXX.part``. Those of the same file that were left by killed processes are removed first.
    """
    sweep_parts(path.parent, glob.escape(path.name))

    def make() -> str:
        handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        return name

    name, handle = _in_use(make)
    try:
        yield Path(name)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)
        _let_go(handle)


def sweep_parts(folder: str | Path, names: str) -> None:
    """Remove what killed processes left of files with such names (a glob pattern); what is being written stays."""
    for part in Path(folder).glob(f"{names}.????????.part"):
        _remove_left_over(str(part))


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """One at a time of all who call this for a folder; the others wait. Where there are no locks nobody waits."""
    handle = None
    with suppress(OSError):
        if fcntl is not None:
            handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        _let_go(handle)


def _in_use(make: Callable[[], str]) -> tuple[str, int | None]:
    """What ``make`` makes, and the lock on it; None where the file system has no locks, and nobody can sweep."""
    while True:
        name = make()
        try:
            return name, _hold(name)
        except (BlockingIOError, FileNotFoundError):
            continue  # somebody swept in this very moment, and takes it for left over
        except OSError:
            return name, None


def _hold(name: str) -> int:
    """A locked handle on a file or folder of this user's.

    Raises BlockingIOError when somebody holds it, FileNotFoundError when it is gone, and other kinds of OSError when it
    is a link, somebody else's, or where there are no locks.
    """
    if fcntl is None:
        raise OSError("no locks on this system")
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if os.fstat(handle).st_uid != os.geteuid():
            raise PermissionError(name)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(handle), os.lstat(name)):  # removed, and made anew, before it was locked
            raise FileNotFoundError(name)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _let_go(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)


def _remove_left_over(name: str) -> None:
    """Remove a file or folder of ours, unless it is in use or somebody else's."""
    handle = None
    try:
        if fcntl is not None:
            handle = _hold(name)
        elif time.time() - os.lstat(name).st_mtime < OLD:
            return
        if stat.S_ISDIR(os.lstat(name).st_mode):
            shutil.rmtree(name, ignore_errors=True)
        else:
            os.unlink(name)
    except OSError:
        pass
    finally:
        _let_go(handle)
