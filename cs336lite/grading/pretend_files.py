"""Files that are none: what a submission writes beside its notebook is kept in its own memory, and can be read again.

No file can be written in the jail. Python's ways to files (``open``, `os`, and with them `pathlib`, `tempfile`, `shutil`,
`logging`, `zipfile`) find here a tree in memory, for relative paths and for the folder of `tempfile`. It ends with the
process, and counts as its memory. All other paths lead to the real files, and so do the ways of libraries that are
written in another language. A file that a check gives may be opened for both reading and writing: as a copy.

The worker loads this and `pretend_handles` beside itself, without the package, and calls `install` before it imports any
library.
"""

from __future__ import annotations

import builtins
import errno
import io
import itertools
import mmap
import os
import re
import stat
import sys
from collections.abc import Callable
from typing import Any

from pretend_handles import Entries, Entry, File, Handle, status, wrapped

FIRST_DESCRIPTOR = 1 << 20  # far above the real ones
READERS = ("stat", "lstat", "listdir", "scandir", "chdir", "read")
INPUT = re.compile(r"/inputs/[^/]+/input-[0-9]+\Z")  # a file that a check gives


def fail(number: int, path: Any) -> None:
    raise OSError(number, os.strerror(number), path)


class Tree:
    """Folders and files in memory, by absolute paths, below the folder where the process is.

    Names that are there in truth, and those that begin with a dot, are not of this tree.
    """

    def __init__(self, top: str) -> None:
        self.top, self.here = top, top
        self.taken = frozenset(os.listdir("."))
        self.folders, self.files = {top}, {}
        self.descriptors: dict[int, Handle] = {}
        self.numbers = itertools.count(FIRST_DESCRIPTOR)

    def place(self, path: Any) -> str | None:
        """The absolute path, if it is one of this tree."""
        if isinstance(path, int) or path is None:
            return None
        path = os.fsdecode(path)
        if path.startswith("/") and not path.startswith(self.top):
            return None
        full = os.path.normpath(path if path.startswith("/") else f"{self.here}/{path}")
        if full == self.top:
            return full
        first = full[len(self.top) + 1 :].partition("/")[0]
        inside = full.startswith(self.top + "/") and first not in self.taken and not first.startswith(".")
        return full if inside else None

    def names(self, folder: str) -> list[str]:
        if folder not in self.folders:
            fail(errno.ENOTDIR if folder in self.files else errno.ENOENT, folder)
        return sorted(p[len(folder) + 1 :] for p in (*self.folders, *self.files) if os.path.dirname(p) == folder)

    # -- `open`

    def open(
        self,
        real: Callable,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Callable | None = None,
    ) -> Any:
        raw, text = None, (encoding, errors, newline)
        where = self.place(file)
        writing = not {"w", "a", "x", "+"}.isdisjoint(mode)
        if isinstance(file, int) and file in self.descriptors:
            raw = self.descriptors[file]
            raw.mode = mode.replace("t", "")
        elif where is not None and opener is not None:
            number = opener(file, os.O_RDWR)
            return self.open(real, number, mode, buffering, *text, closefd)
        elif where is not None and (writing or where in self.files):
            raw = self.handle(where, mode.replace("t", ""), file)
        elif mode.replace("t", "") in ("r+", "r+b", "rb+", "+rb", "+r") and self.is_input(file):
            given = real(file, "rb")
            raw = Handle(File(given.read()), mode, file, given)
        if raw is None:
            try:
                return real(file, mode, buffering, *text, closefd, opener)
            except OSError as error:
                error.graded_without = "files" if writing else "the file"  # the worker tells it
                raise
        return wrapped(raw, mode, buffering, *text)

    def is_input(self, path: Any) -> bool:
        return not isinstance(path, int) and INPUT.search(os.fsdecode(path)) is not None

    def handle(self, where: str, mode: str, name: Any) -> Handle:
        if where in self.folders:
            fail(errno.EISDIR, name)
        if os.path.dirname(where) not in self.folders or (where not in self.files and "r" in mode):
            fail(errno.ENOENT, name)
        if "x" in mode and where in self.files:
            fail(errno.EEXIST, name)
        return Handle(self.files.setdefault(where, File()), mode, name)

    # -- `os`, by descriptors

    def os_open(self, real: Callable, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        where = self.place(path) if dir_fd is None else None
        if where is None or not (flags & os.O_CREAT or where in self.files or where in self.folders - {self.top}):
            return real(path, flags, mode, dir_fd=dir_fd)
        how = {os.O_RDONLY: "rb", os.O_WRONLY: "wb", os.O_RDWR: "r+b"}[flags & os.O_ACCMODE]
        kind = "x" if flags & os.O_EXCL else "w" if flags & os.O_TRUNC else "a" if flags & os.O_APPEND else None
        if kind is None and flags & os.O_CREAT:
            kind = "a" if where not in self.files else None
        handle = self.handle(where, f"{kind}+b" if kind else "r+b" if how == "wb" else how, path)
        handle.mode = "ab+" if flags & os.O_APPEND else "r+b" if how != "rb" else "rb"
        number = next(self.numbers)
        self.descriptors[number] = handle
        return number

    def os_close(self, real: Callable, fd: int) -> None:
        real(fd) if self.descriptors.pop(fd, None) is None else None

    def os_read(self, real: Callable, fd: int, n: int) -> bytes:
        return self.descriptors[fd].read(n) if fd in self.descriptors else real(fd, n)

    def os_write(self, real: Callable, fd: int, data: Any) -> int:
        return self.descriptors[fd].write(data) if fd in self.descriptors else real(fd, data)

    def os_lseek(self, real: Callable, fd: int, position: int, whence: int) -> int:
        return self.descriptors[fd].seek(position, whence) if fd in self.descriptors else real(fd, position, whence)

    def os_fstat(self, real: Callable, fd: int) -> os.stat_result:
        return self.descriptors[fd].file.status() if fd in self.descriptors else real(fd)

    def os_fsync(self, real: Callable, fd: int) -> None:
        return None if fd in self.descriptors else real(fd)

    # -- `os`, by names

    def os_stat(self, real: Callable, path: Any, **more: Any) -> os.stat_result:
        if isinstance(path, int) and path in self.descriptors:
            return self.descriptors[path].file.status()
        where = self.place(path)
        if where in self.files:
            return self.files[where].status()
        if where in self.folders and where != self.top:
            return status(stat.S_IFDIR | 0o755, hash(where), 4096, 0.0)
        return real(path, **more)

    os_lstat = os_stat

    def os_access(self, real: Callable, path: Any, mode: int, **more: Any) -> bool:
        where = self.place(path)
        return where in self.files or where in self.folders or real(path, mode, **more)

    def os_listdir(self, real: Callable, path: Any = ".") -> list[str]:
        where = self.place(path or ".")
        return real(path) if where is None else self.names(where)

    def os_scandir(self, real: Callable, path: Any = ".") -> Any:
        where = self.place(path or ".")
        if where is None:
            return real(path)
        return Entries(Entry(os.fsdecode(path or "."), name) for name in self.names(where))

    def os_mkdir(self, real: Callable, path: Any, mode: int = 0o777, **more: Any) -> None:
        where = self.place(path)
        if where is None:
            return real(path, mode, **more)
        if where in self.folders or where in self.files:
            fail(errno.EEXIST, path)
        if os.path.dirname(where) not in self.folders:
            fail(errno.ENOENT, path)
        self.folders.add(where)

    def os_rmdir(self, real: Callable, path: Any, **more: Any) -> None:
        where = self.place(path)
        if where is None:
            return real(path, **more)
        if self.names(where):
            fail(errno.ENOTEMPTY, path)
        self.folders.discard(where)

    def os_unlink(self, real: Callable, path: Any, **more: Any) -> None:
        where = self.place(path)
        if where is None:
            return real(path, **more)
        if self.files.pop(where, None) is None:
            fail(errno.EISDIR if where in self.folders else errno.ENOENT, path)

    os_remove = os_unlink

    def os_rename(self, real: Callable, src: Any, dst: Any, **more: Any) -> None:
        old, new = self.place(src), self.place(dst)
        if old is None or new is None:
            return real(src, dst, **more)
        if (old not in self.files and old not in self.folders) or os.path.dirname(new) not in self.folders:
            fail(errno.ENOENT, src)
        if new in self.folders:
            fail(errno.EISDIR, dst)
        moved = [p for p in (*self.files, *self.folders) if p == old or p.startswith(old + "/")]
        for path in moved:
            if path in self.files:
                self.files[new + path[len(old) :]] = self.files.pop(path)
            else:
                self.folders.remove(path)
                self.folders.add(new + path[len(old) :])

    os_replace = os_rename

    def os_chmod(self, real: Callable, path: Any, *args: Any, **more: Any) -> None:
        where = self.place(path)
        return None if where in self.files or where in self.folders - {self.top} else real(path, *args, **more)

    os_utime = os_chmod

    def os_listxattr(self, real: Callable, path: Any = None, **more: Any) -> list[str]:
        return real(path, **more) if self.place(path) is None else []

    def os_chdir(self, real: Callable, path: Any) -> None:
        where = self.place(path)
        if where is None or where not in self.folders:
            real(path)
        self.here = where or self.here

    def os_getcwd(self, real: Callable) -> str:
        return self.here


class Mmap(mmap.mmap):
    """Memory that would be written to a file that cannot be written is a copy of it."""

    def __new__(cls, fileno: int, length: int, *args: Any, **more: Any) -> Mmap:
        shared = not args and not {"access", "flags", "prot"} & set(more)
        if fileno != -1 and (shared or more.get("access") == mmap.ACCESS_WRITE):
            more["access"] = mmap.ACCESS_COPY
        return super().__new__(cls, fileno, length, *args, **more)


def install() -> None:
    """Let Python's ways to files lead to a tree in memory. The process must be in the worker's folder."""
    top = os.getcwd()
    tree = Tree(top)
    for name in dir(Tree):
        if name.startswith("os_"):
            setattr(os, name[3:], bound(getattr(tree, name), getattr(os, name[3:])))
    real = io.open
    builtins.open = io.open = bound(tree.open, real)
    for module in list(sys.modules.values()):
        for name in ("open", "_open", "_builtin_open"):
            if vars(module).get(name) is real:
                setattr(module, name, io.open)
    mmap.mmap = Mmap
    import tempfile  # only now: it keeps functions of `os`, and `shutil` looks at what they can do

    tempfile.tempdir = f"{top}/temporary"
    tree.folders.add(tempfile.tempdir)


def bound(method: Callable, real: Callable) -> Callable:
    def call(*args: Any, **more: Any) -> Any:
        try:
            return method(real, *args, **more)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and not hasattr(error, "graded_without"):
                error.graded_without = "the file" if real.__name__ in READERS else "files"  # the worker tells it
            raise

    call.__name__ = call.__qualname__ = real.__name__
    return call
