"""The untrusted side: a process that imports slow libraries once and forks a child for each submission.

Started by the client as a plain script (no package, no site files, a clean environment):

    python -s -P -S worker.py CONTROL_FD

Over the control socket the client sends ``spawn MEMORY THREADS FOLDER`` with one end of a socket pair and a memory file,
``kill PID``, or ``reap PID`` for a child that has closed its end. A spawned child sets its limits (bytes of address space,
threads of its user) and its jail, in which of all inputs FOLDER alone can be read, says which layers hold, and then answers
frames on its socket (see `wire` and `child`): ``load`` runs the submission's cells, ``run`` runs a driver beside them; with
``tell`` what they raise comes with its own text, which grading never asks for.
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
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


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
    import shell
    import wire
    from child import Child

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
                place = shared_memory(handles[1], cells.PLACE.size)
                os.close(handles[1])
                Child(channel, read, place).serve()
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


def silence() -> None:
    """Nothing to read, and what is printed goes nowhere, however much it is."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


if __name__ == "__main__":
    main()
