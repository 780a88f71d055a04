"""A worker's child: one submission, its names, and the frames that ask for them.

Loads without the package, beside the worker, which forks it.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import sys
import time
import traceback
import types
from collections.abc import Callable

import cells  # this and the following lie beside this file
import returned
import shell
import wire
from reader import Reader

REFUSED_IN_SCRIPT = re.compile(r"^RuntimeError: LibraryCall: (\S+)", re.MULTILINE)  # how TorchScript passes it on
UNSOLVED = ((), ("this exercise is not solved yet",))  # what the stub's NotImplementedError holds, or a bare one
MOST_TEXT, MOST_FRAMES = 2000, 40


class Child:
    """One submission: its names, and the frames that ask for them. In ``place`` it says which statement it is about to run."""

    def __init__(self, channel: socket.socket, reader: Reader, place: ctypes.Array) -> None:
        self.channel, self.reader, self.place = channel, reader, place
        self.module = types.ModuleType("__main__")
        self.compiled: dict[str, types.CodeType] = {}  # drivers, which come again
        self.gave: list[str] = []  # what a driver could not use: a function, and the type of what it returned

    def serve(self) -> None:
        while True:
            prefix = self.read(wire.PREFIX.size)
            frame = wire.unpack(prefix, self.read(wire.frame_length(prefix)))
            self.channel.sendall(self.answer(frame))

    def read(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self.channel.recv(min(count - len(parts), 1 << 20))
            if not part:
                os._exit(0)
            parts += part
        return bytes(parts)

    def answer(self, frame: dict) -> bytes:
        try:
            if frame["op"] == "load":
                describe = retold if frame.get("tell") else told
                return wire.pack(
                    "loaded", self.load(frame["value"], frame["name"], frame["skip"], frame["threads"], describe)
                )
            return wire.pack("value", self.run(frame["source"], frame["function"], frame["value"]))
        except wire.WireError as error:
            kind = "OutputLimit" if isinstance(error, wire.TooLarge) else "BadAnswer"
            return wire.pack("error", kind=kind, detail="", cell="", line=0)
        except BaseException as error:
            said = (retold if frame.get("tell") else told)(error)
            if type(error) is RuntimeError and (found := REFUSED_IN_SCRIPT.search(str(error))):
                said |= {"kind": "LibraryCall", "detail": found[1]}
            kinds = [base.__name__ for base in type(error).__mro__[:-1] if base.__module__ == "builtins"]
            return wire.pack("error", cell=place(error)[0], kinds=kinds, gave=self.gave, **said)

    def load(self, code: list, name: str, skip: list, threads: int, describe: Callable[..., dict]) -> list[dict]:
        """Run the cells in the module of this name; what failed in them."""
        self.module.__name__ = name
        sys.modules[name] = self.module
        names = self.module.__dict__
        runner = cells.Runner(names, self.reader, self.place, describe, threads)
        script = any(label == "" for label, _ in code)
        if script:
            self.module.__file__ = cells.CELL.format("")
        shell.surround(names, runner.nested, notebook=name == "__main__")
        runner.load(code, {tuple(place) for place in skip}, script)
        return runner.errors

    def run(self, source: str, function: str, args: tuple) -> object:
        scope: dict = {"__name__": "driver"}
        if source not in self.compiled:
            self.compiled[source] = compile(source, "<driver>", "exec")
        exec(self.compiled[source], scope)
        names, self.gave = self.module.__dict__, []
        start = time.process_time()
        try:
            return scope[function](Names(names), *args)
        except Exception as error:
            took = time.process_time() - start
            if (cause := returned.first_cause(error)) is not error:
                raise cause from None
            if name := returned.not_taken(error, names):
                self.gave = [name, "arguments"]
            elif found := returned.not_used(error, names, lambda: scope[function](Names(names), *args), took):
                self.gave = [found[0], type(found[1]).__name__]
            raise


def told(error: BaseException) -> dict:
    """What the client is told of an exception."""
    return {"kind": type(error).__name__, "line": place(error)[1], "detail": detail(error)}


def retold(error: BaseException) -> dict:
    """What the client is told where it asks for everything: the exception's own text, too, and where it came by."""
    trace = [
        [str(frame.f_code.co_filename)[-200:], int(line or 0), str(frame.f_code.co_name)[:100]]
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    try:
        text = str(error)[:MOST_TEXT].encode("utf-8", "replace").decode()
    except BaseException as problem:
        text = f"(its text raises {type(problem).__name__})"
    return told(error) | {"story": {"kind": type(error).__name__[:100], "text": text, "trace": trace[-MOST_FRAMES:]}}


def detail(error: BaseException) -> str:
    """What may be said of an exception beside its type: the name that was missing or refused, or that it is the stub's."""
    if type(error) is NotImplementedError:
        return "unsolved" if all(type(a) is str for a in error.args) and error.args in UNSOLVED else ""
    name = getattr(error, "name", "") if isinstance(error, (MissingName, ModuleNotFoundError)) else ""
    if type(error).__name__ == "LibraryCall":
        name = getattr(error, "entry", "")
    if isinstance(error, OSError):
        name = getattr(error, "graded_without", "")  # what a stand-in refuses, as it names it
    return name if isinstance(name, str) else ""


class MissingName(Exception):
    def __init__(self, name: str) -> None:
        self.name = name


class Names:
    """The names that a submission defines, as attributes."""

    def __init__(self, names: dict) -> None:
        self.__dict__ = names

    def __getattr__(self, name: str) -> object:
        raise MissingName(name)


def place(error: BaseException) -> tuple[str, int]:
    """The cell and line of the student's code in which an exception arose, or ("", 0): of given code only where there is no other."""
    found, given = ("", 0), ("", 0)
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_filename
        if name.startswith("<cell given "):
            given = (name[6:-1], line)
        elif name.startswith("<cell "):
            found = (name[6:-1], line)
    return found if found[1] else given
