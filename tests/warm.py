"""``nbgrader …`` and ``cs336lite …`` without the seconds in which they import what other packages bring.

A process of its own imports that once, and forks for each command. The course's own code is none of it: each command
imports that itself, as it always does. A command that is asked for with another way to start (a ``PYTHONPATH``, a home
folder, a locale) or from inside the repository is started as usual.

python warm.py          a request a line on standard input, ``[command, folder, environment, output, errors]`` as JSON; an
                        exit status a line on standard output
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

ENTRIES = {"nbgrader": "nbgrader.apps.nbgraderapp", "cs336lite": "cs336lite.cli"}
"""Where the ``main`` of each command is."""
OTHERS = (
    "nbgrader.apps.nbgraderapp",
    "nbgrader.api",
    "nbconvert.exporters",
    "sqlalchemy.dialects.sqlite",
    "rich",
    "typer",
)
AT_START = ("PYTHON", "HOME", "LC_", "LANG", "JUPYTER", "IPYTHON")
"""Beginnings of variables that count when Python starts, or when what others wrote is imported."""
ROOT = Path(__file__).resolve().parents[1]
USUAL = dict(os.environ)
BUSY = threading.Lock()


def can_run(command: tuple[str, ...], cwd: Path, environment: dict[str, str]) -> bool:
    """Whether a command can be forked: nothing that is looked at beforehand is asked for."""
    usual = all(environment.get(k) == USUAL.get(k) for k in {*environment, *USUAL} if k.startswith(AT_START))
    return hasattr(os, "fork") and command[0] in ENTRIES and usual and not Path(cwd).resolve().is_relative_to(ROOT)


def run(
    command: tuple[str, ...], cwd: Path, environment: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """The command's exit status and what it wrote, as `subprocess.run` gives them.

    Raises:
        subprocess.TimeoutExpired: it took longer; it has been killed.
    """
    with BUSY, tempfile.TemporaryDirectory() as folder:
        written = [Path(folder, name) for name in ("output", "errors")]
        server, start = started(), time.monotonic()
        late = threading.Timer(timeout, stop)
        late.start()
        server.stdin.write(json.dumps([command, str(cwd), environment, *map(str, written)]) + "\n")
        server.stdin.flush()
        status = server.stdout.readline()
        late.cancel()
        if not status and time.monotonic() - start < timeout:
            raise RuntimeError(f"the process that forks commands has ended with {server.wait()}")
        if not status:
            late.join()
            raise subprocess.TimeoutExpired(command, timeout)
        output, errors = (path.read_bytes().decode(errors="replace").replace("\r\n", "\n") for path in written)
        return subprocess.CompletedProcess(list(command), int(status), output, errors)


@functools.cache
def started() -> subprocess.Popen[str]:
    """The process that has imported what others wrote."""
    server = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=USUAL,
        start_new_session=True,
    )
    atexit.register(stop)
    return server


def stop() -> None:
    """End the process, and a command that it runs."""
    if started.cache_info().currsize:
        server = started()
        started.cache_clear()
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        server.stdin.close()
        server.stdout.close()


def serve() -> str:
    """Fork for each request: the command's name in the fork, nothing when no more are to come."""
    sys.modules["rfc3987_syntax"] = None  # a grammar that takes a second, which the package leaves out for itself, too
    for name in OTHERS:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        command, *rest = json.loads(line)
        if (pid := os.fork()) == 0:
            become(command, *rest)
            return command[0]
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=answers, flush=True)
    return ""


def become(command: list[str], cwd: str, environment: dict[str, str], output: str, errors: str) -> None:
    """Give this process what one that has just been started would have."""
    for number, path in enumerate((os.devnull, output, errors)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    tempfile.tempdir = None
    sys.stdin, sys.argv = os.fdopen(0), [str(Path(sys.executable).with_name(command[0])), *command[1:]]
    sys.path[0] = str(Path(sys.executable).parent)


if __name__ == "__main__":
    asked = serve()
    if asked:
        sys.exit(importlib.import_module(ENTRIES[asked]).main())
