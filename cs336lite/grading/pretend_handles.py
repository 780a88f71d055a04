"""A file that is kept in memory (see `pretend_files`): its bytes, what ``open`` and `os.scandir` give for it."""

from __future__ import annotations

import io
import os
import stat
import time
from collections.abc import Iterator
from typing import Any


class File:
    """The bytes of a file."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.changed = time.time()

    def status(self) -> os.stat_result:
        return status(stat.S_IFREG | 0o644, id(self), len(self.data), self.changed)


def status(mode: int, number: int, size: int, when: float) -> os.stat_result:
    return os.stat_result((mode, number & 0xFFFFFFFF, 0, 1, os.getuid(), os.getgid(), size, *[int(when)] * 3))


class Handle(io.RawIOBase):
    """A file that is open: in place of `io.FileIO`, below Python's own buffers and decoders."""

    def __init__(self, file: File, mode: str, name: Any, real: Any = None) -> None:
        self.file, self.mode, self.name, self.real = file, mode, name, real
        self.position = 0
        if "w" in mode:
            file.data.clear()

    def readable(self) -> bool:
        return "r" in self.mode or "+" in self.mode

    def writable(self) -> bool:
        return self.mode not in ("r", "rb")

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self.real is None:
            raise io.UnsupportedOperation("a file that is kept in memory has no number")
        return self.real.fileno()

    def readinto(self, buffer: Any) -> int:
        self._demand(self.readable(), "not readable")
        part = self.file.data[self.position : self.position + len(buffer)]
        buffer[: len(part)] = part
        self.position += len(part)
        return len(part)

    def write(self, data: Any) -> int:
        self._demand(self.writable(), "not writable")
        held, data = self.file.data, memoryview(data).cast("B")
        if "a" in self.mode:
            self.position = len(held)
        held.extend(bytes(max(0, self.position - len(held))))
        held[self.position : self.position + len(data)] = data
        self.position += len(data)
        self.file.changed = time.time()
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._demand()
        self.position = max(0, offset + (0, self.position, len(self.file.data))[whence])
        return self.position

    def tell(self) -> int:
        self._demand()
        return self.position

    def truncate(self, size: int | None = None) -> int:
        self._demand(self.writable(), "not writable")
        size = self.position if size is None else size
        del self.file.data[size:]
        self.file.data.extend(bytes(size - len(self.file.data)))
        return size

    def _demand(self, true: bool = True, message: str = "") -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        if not true:
            raise io.UnsupportedOperation(message)


class Entry:
    """An `os.DirEntry`."""

    def __init__(self, folder: str, name: str) -> None:
        self.name, self.path = name, os.path.join(folder, name)

    def __fspath__(self) -> str:
        return self.path

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        return os.stat(self.path)

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return stat.S_ISDIR(self.stat().st_mode)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return not self.is_dir()

    def is_symlink(self) -> bool:
        return False

    is_junction = is_symlink

    def inode(self) -> int:
        return self.stat().st_ino


class Entries(list):
    """What `os.scandir` gives."""

    def __next__(self) -> Entry:
        if not self:
            raise StopIteration
        return self.pop(0)

    def __iter__(self) -> Iterator[Entry]:
        return self

    def __enter__(self) -> Entries:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    close = list.clear


def wrapped(raw: Handle, mode: str, buffering: int, encoding: Any, errors: Any, newline: Any) -> Any:
    """What ``open`` gives for a raw file."""
    if "b" in mode and buffering == 0:
        return raw
    kind = io.BufferedRandom if "+" in mode else io.BufferedWriter if raw.writable() else io.BufferedReader
    buffer = kind(raw)
    if "b" in mode:
        return buffer
    text = io.TextIOWrapper(buffer, encoding, errors, newline, line_buffering=buffering == 1)
    text.mode = mode
    return text
