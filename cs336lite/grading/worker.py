"""The untrusted side: a process that imports slow libraries once and forks a child for each submission.

Started by the client as a plain script (no package, no site files, a clean environment):

    python -s -P -S worker.py CONTROL_FD

Over the control socket the client sends ``spawn MEMORY THREADS FOLDER`` with one end of a socket pair and a memory file,
``kill PID``, or
``reap PID`` for a child that has closed its end. A spawned child sets its limits (bytes of address space, threads of its
user) and its jail, in which of all inputs FOLDER alone can be read, says which layers hold, and then answers
frames on its socket (see `wire`): ``load`` runs the submission's cells (see `cells`), ``run`` runs a driver beside them;
with ``tell`` what they raise comes with its own text, which grading never asks for.
Nothing in this process knows an expected answer. With the socket comes a piece of shared memory, in which the child writes
where it is. ``stop PID`` interrupts the statement that it runs; ``halt PID`` and ``wake PID`` let it stand still and go on.

``options.json`` beside this file says:
    path, warm          folders to import from; modules to import before any fork
    refused             library functions that raise, because an exercise is to write them (see `refusal`)
    packages            folders of installed packages
    user                the user to become when started as root
    held                files and folders that this user could not reach by their names (see `jail.hold`)
    layers              the layers of `jail` to set
    shut                modules that are installed and may not be imported
    absent              modules of the course that are not there when work is graded
    readable, listable  files and folders that may be read; folders of which the names may be seen
    roots               the few folders in which all of these lie
    seconds             of processor time, a child's limit
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import importlib.machinery
import json
import mmap
import os
import re
import resource
import signal
import socket
import sys
import time
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass

REFUSED_IN_SCRIPT = re.compile(r"^RuntimeError: LibraryCall: (\S+)", re.MULTILINE)  # how TorchScript passes it on
PR_SET_PDEATHSIG = 1
UNSOLVED = ((), ("this exercise is not solved yet",))  # what the stub's NotImplementedError holds, or a bare one


def main() -> None:
    gc.disable()  # while modules are imported, of which none goes
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))  # the grader's own is narrower
    control = socket.socket(fileno=int(sys.argv[1]))
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "options.json"), encoding="utf-8") as file:
        options = json.load(file)
    sys.path.insert(0, here)
    import pretend_files  # this and the following lie beside this file, and are loaded without the package

    fork = os.fork
    pretend_files.install()  # before anything is imported that keeps functions of `os`
    import pretend_processes

    pretend_processes.install()
    import cells
    import jail
    import pretend_torch
    import reader
    import refusal
    import returned
    import shell
    import wire

    sys.path.remove(here)
    sys.path[:] = options["path"] + sys.path
    sys.argv[1:] = []
    held = options["held"]
    jail.hold(held)
    name_by_handle(held, jail.reach)
    roots, readable, listable = ([jail.reach(p, held) for p in options[k]] for k in ("roots", "readable", "listable"))
    if options["user"] is not None:
        jail.become(options["user"])
    pretend_writable(os.environ["MPLCONFIGDIR"])
    for name in options["warm"]:
        importlib.import_module(name)
    if "torch" in sys.modules:  # it looks at the processor once, at its first use, and in the jail it could not
        torch = sys.modules["torch"]
        torch.ones(1).half() * torch.ones(1)
        torch.backends.cpu.get_cpu_capability()
        pretend_torch.install(torch)
    read = reader.Reader(reader.load_transformer(), shell.RUN_PYTHON)
    if options["refused"]:
        refusal.refuse(options["refused"], options["packages"])
    sys.modules.update(dict.fromkeys(options["absent"]))  # None: an import fails, and says which module is missing
    shut = frozenset(options["shut"])
    sys.meta_path[:] = [Shut(shut, f) if f is importlib.machinery.PathFinder else f for f in sys.meta_path]
    jail.confine(readable, listable, [name for name in options["layers"] if name.startswith("Landlock")])
    gc.freeze()  # a child that collects garbage would look through, and so copy, all that was imported
    gc.enable()
    control.send(b"ready")
    while True:
        try:
            message, handles = receive(control)
        except OSError:
            message = b""
        if not message:  # the client is gone
            os._exit(0)
        if message.startswith(b"spawn "):
            memory, threads, folder = message[6:].split(b" ", 2)
            channel = socket.socket(fileno=handles[0])
            pid = fork()
            if pid == 0:
                os.setsid()
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # never outlive the worker
                control.close()
                silence()
                jail.limit(int(memory), options["seconds"], int(threads))
                # a second Landlock on top of the worker's: what both allow
                layers = jail.confine([*roots, jail.reach(os.fsdecode(folder), held)], layers=options["layers"])
                channel.sendall(wire.pack("ready", layers))
                run = Runs(cells, shell, returned, read, shared_memory(handles[1], cells.PLACE.size))
                os.close(handles[1])
                Child(channel, wire, run).serve()
                os._exit(0)
            channel.close()
            os.close(handles[1])
            control.send(str(pid).encode())
        elif message.startswith((b"halt ", b"wake ")):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(message[5:]), signal.SIGSTOP if message.startswith(b"halt ") else signal.SIGCONT)
            control.send(b"0")
        elif message.startswith(b"stop "):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(message[5:]), signal.SIGINT)
            control.send(b"0")
        elif message.startswith((b"kill ", b"reap ")):
            control.send(end(int(message[5:]), patience=2.0 if message.startswith(b"reap ") else 0.0))


def name_by_handle(held: list[str], reach: Callable[[str, list[str]], str]) -> None:
    """Let imports and the standard library name what is held as it can be reached."""
    for folders in [sys.path, *(module.__path__ for module in sys.modules.values() if hasattr(module, "__path__"))]:
        folders[:] = [reach(folder, held) for folder in folders]
    for module in sys.modules.values():
        if isinstance(getattr(module, "__file__", None), str):
            module.__file__ = reach(module.__file__, held)
    os.environ["MPLCONFIGDIR"] = reach(os.environ["MPLCONFIGDIR"], held)
    realpath = os.path.realpath

    def real(path: object, **more: object) -> object:
        found = realpath(path, **more)
        return reach(found, held) if isinstance(found, str) else found

    if held:
        os.path.realpath = real


def pretend_writable(folder: str) -> None:
    """Let `os.access` say of a folder that it may be written.

    matplotlib must hear that of its own before it can be imported. What it then cannot write there it does without.
    """
    access = os.access

    def say(path: object, mode: int, **more: object) -> bool:
        return path == folder or access(path, mode, **more)

    os.access = say


class Shut:
    """Finds modules in folders as Python does, but for those that the course does not have: as if not installed."""

    def __init__(self, names: frozenset[str], finder: type) -> None:
        self.names, self.finder = names, finder

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        return None if name.partition(".")[0] in self.names else self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> object:  # `importlib.metadata` asks for distributions
        return getattr(self.finder, name)


def receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """A control message and the file descriptors that came with it."""
    handles = array.array("i")
    message, ancillary, _, _ = control.recvmsg(4096, socket.CMSG_LEN(2 * handles.itemsize))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            handles.frombytes(data[: len(data) - len(data) % handles.itemsize])
    return message, list(handles)


def shared_memory(handle: int, size: int) -> ctypes.Array:
    """Some bytes that are shared with whoever has this handle, which may then be closed: `mmap.mmap` would keep a copy."""
    function = ctypes.CDLL(None, use_errno=True).mmap
    function.restype = ctypes.c_void_p
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(3 * [ctypes.c_int]), ctypes.c_long)
    found = function(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, handle, 0)
    if found == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "no memory can be shared")
    return (ctypes.c_char * size).from_address(found)


def end(pid: int, patience: float) -> bytes:
    """End a child for certain, and say how it ended by itself within so many seconds: a signal's number, or 0."""
    deadline = time.monotonic() + patience
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
        while done == 0 and time.monotonic() < deadline:
            time.sleep(0.001)
            done, status = os.waitpid(pid, os.WNOHANG)
        if done == 0:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return b"0"
        return str(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0).encode()
    except (ChildProcessError, ProcessLookupError):
        return b"0"


@dataclass(frozen=True)
class Runs:
    """What runs the cells of a child and looks at what they gave, and where it says which statement it is about to run."""

    cells: types.ModuleType
    shell: types.ModuleType
    returned: types.ModuleType
    reader: object
    place: ctypes.Array


class Child:
    """One submission: its names, and the frames that ask for them."""

    def __init__(self, channel: socket.socket, wire: types.ModuleType, runs: Runs) -> None:
        self.channel, self.wire, self.runs = channel, wire, runs
        self.module = types.ModuleType("__main__")
        self.gave: list[str] = []  # what a driver could not use: a function, and the type of what it returned

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
                describe = retold if frame.get("tell") else told
                return pack(
                    "loaded", self.load(frame["value"], frame["name"], frame["skip"], frame["threads"], describe)
                )
            return pack("value", self.run(frame["source"], frame["function"], frame["value"]))
        except self.wire.WireError as error:
            kind = "OutputLimit" if isinstance(error, self.wire.TooLarge) else "BadAnswer"
            return pack("error", kind=kind, detail="", cell="", line=0)
        except BaseException as error:
            said = (retold if frame.get("tell") else told)(error)
            if type(error) is RuntimeError and (found := REFUSED_IN_SCRIPT.search(str(error))):
                said |= {"kind": "LibraryCall", "detail": found[1]}
            kinds = [base.__name__ for base in type(error).__mro__[:-1] if base.__module__ == "builtins"]
            return pack("error", cell=place(error)[0], kinds=kinds, gave=self.gave, **said)

    def load(self, cells: list, name: str, skip: list, threads: int, describe: Callable[..., dict]) -> list[dict]:
        """Run the cells in the module of this name; what failed in them."""
        self.module.__name__ = name
        sys.modules[name] = self.module
        names, runs = self.module.__dict__, self.runs
        runner = runs.cells.Runner(names, runs.reader, runs.place, describe, threads)
        script = any(label == "" for label, _ in cells)
        if script:
            self.module.__file__ = runs.cells.CELL.format("")
        runs.shell.surround(names, runner.nested, notebook=name == "__main__")
        runner.load(cells, {tuple(place) for place in skip}, script)
        return runner.errors

    def run(self, source: str, function: str, args: tuple) -> object:
        scope: dict = {"__name__": "driver"}
        exec(compile(source, "<driver>", "exec"), scope)
        names, self.gave = self.module.__dict__, []
        start = time.process_time()
        try:
            return scope[function](Names(names), *args)
        except Exception as error:
            took, returned = time.process_time() - start, self.runs.returned
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


MOST_TEXT, MOST_FRAMES = 2000, 40


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


def silence() -> None:
    """Nothing to read, and what is printed goes nowhere, however much it is."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


if __name__ == "__main__":
    main()
