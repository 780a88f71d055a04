"""The untrusted side: a process that imports slow libraries once and forks a child for each submission.

Started by the client as a plain script (no package, no site files, a clean environment):

    python -s -P -S worker.py CONTROL_FD OPTIONS

OPTIONS is JSON: the worker's ``folder``, the import ``path``, the modules to ``warm`` up, what a child may read
(``readable``), and its limits (``memory`` in bytes, processor ``seconds``). Over the control socket the client sends
``spawn FOLDER`` with one end of a socket pair, or ``kill PID``. A spawned child sets its limits and its jail, in which
FOLDER can be read too, says which layers hold, and then answers frames on its socket (see `wire`): ``load`` runs the
submission's cells, ``run`` runs a driver beside them. Nothing in this process knows an expected answer.
"""

from __future__ import annotations

import array
import ctypes
import importlib
import json
import os
import resource
import shutil
import signal
import socket
import sys
import traceback
import types

CELL = "<cell {}>"
PR_SET_PDEATHSIG = 1
SKIPPED_CELL_MAGICS = (
    "%%bash",
    "%%sh",
    "%%html",
    "%%javascript",
    "%%js",
    "%%latex",
    "%%markdown",
    "%%writefile",
    "%%script",
)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    options = json.loads(sys.argv[2])
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, here)
    import jail  # beside this file, loaded without the package
    import wire

    sys.path.remove(here)
    sys.path[:] = options["path"] + sys.path
    sys.argv[1:] = []
    for name in options["warm"]:
        importlib.import_module(name)
    control.send(b"ready")
    while True:
        try:
            message, handles = receive(control)
        except OSError:
            message = b""
        if not message:  # the client is gone, perhaps killed: its folder goes too
            shutil.rmtree(options["folder"], ignore_errors=True)
            return
        if message.startswith(b"spawn "):
            channel = socket.socket(fileno=handles[0])
            pid = os.fork()
            if pid == 0:
                os.setsid()
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # never outlive the worker
                control.close()
                silence()
                limit(options["memory"], options["seconds"])
                layers = jail.confine([*options["readable"], os.fsdecode(message[6:])])
                channel.sendall(wire.pack("ready", layers))
                Child(channel, wire).serve()
                os._exit(0)
            channel.close()
            control.send(str(pid).encode())
        elif message.startswith(b"kill "):
            control.send(end(int(message[5:])))


def receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """A control message and the file descriptors that came with it."""
    handles = array.array("i")
    message, ancillary, _, _ = control.recvmsg(4096, socket.CMSG_LEN(handles.itemsize))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            handles.frombytes(data[: len(data) - len(data) % handles.itemsize])
    return message, list(handles)


def end(pid: int) -> bytes:
    """Kill a child for certain, and say how it ended: the number of the signal, or 0."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done == 0:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return b"0"
        return str(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0).encode()
    except (ChildProcessError, ProcessLookupError):
        return b"0"


class Child:
    """One submission: its names, and the frames that ask for them."""

    def __init__(self, channel: socket.socket, wire: types.ModuleType) -> None:
        self.channel = channel
        self.wire = wire
        self.module = types.ModuleType("__main__")
        self.errors: list[dict] = []

    def serve(self) -> None:
        while True:
            prefix = self.read(self.wire.PREFIX.size)
            frame = self.wire.unpack(prefix, self.read(self.wire.frame_length(prefix)))
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
        pack = self.wire.pack
        try:
            if frame["op"] == "load":
                self.load(frame["value"], frame["name"])
                return pack("loaded", self.errors)
            return pack("value", self.run(frame["source"], frame["function"], frame["value"]))
        except self.wire.WireError as error:
            return pack("error", kind="BadAnswer", detail=str(error), cell="", line=0)
        except BaseException as error:
            cell, line = place(error)
            missing = error.name if isinstance(error, MissingName) else ""
            return pack("error", kind=type(error).__name__, detail=missing, cell=cell, line=line)

    def load(self, cells: list, name: str) -> None:
        """Run every cell in order; one that fails does not stop those after it, as in a notebook."""
        self.module.__name__ = name
        sys.modules[name] = self.module
        for label, source in cells:
            try:
                code = compile_cell(source, CELL.format(label))
                if code is not None:
                    exec(code, self.module.__dict__)
            except BaseException as error:
                line = error.lineno or 0 if isinstance(error, SyntaxError) else place(error)[1]
                self.errors.append({"cell": label, "kind": type(error).__name__, "line": line})

    def run(self, source: str, function: str, args: tuple) -> object:
        scope: dict = {"__name__": "driver"}
        exec(compile(source, "<driver>", "exec"), scope)
        return scope[function](Names(self.module.__dict__), *args)


class MissingName(Exception):
    def __init__(self, name: str) -> None:
        self.name = name


class Names:
    """The names that a submission defines, as attributes."""

    def __init__(self, names: dict) -> None:
        self.__dict__ = names

    def __getattr__(self, name: str) -> object:
        raise MissingName(name)


def compile_cell(source: str, filename: str) -> types.CodeType | None:
    """The code of a notebook cell; IPython's magics and shell lines are left out, foreign cells give None."""
    try:
        return compile(source, filename, "exec", dont_inherit=True)
    except SyntaxError:
        if source.lstrip().startswith(SKIPPED_CELL_MAGICS):
            return None
        lines = source.split("\n")
        plain = [
            pass_for(line) if line.lstrip()[:1] in ("%", "!", "?") or line.rstrip()[-1:] == "?" else line
            for line in lines
        ]
        if plain == lines:
            raise
        return compile("\n".join(plain), filename, "exec", dont_inherit=True)


def pass_for(line: str) -> str:
    return line[: len(line) - len(line.lstrip())] + "pass"


def place(error: BaseException) -> tuple[str, int]:
    """The cell and line of the student's code in which an exception arose, or ("", 0)."""
    found = ("", 0)
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_filename
        if name.startswith("<cell "):
            found = (name[6:-1], line)
    return found


def silence() -> None:
    """Nothing to read, and what is printed goes nowhere, however much it is."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def limit(memory: int, seconds: int) -> None:
    """Bound what this process may take: address space, processor time, file size 0, few open files, no core dump."""
    with open("/proc/self/statm") as file:
        base = int(file.read().split()[0]) * resource.getpagesize()
    for kind, most in (
        (resource.RLIMIT_AS, base + memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    main()
