"""Which layers of protection this machine has for running other people's code, each one tried."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layer:
    """One layer: does it hold here, does the grader use it, and how to get it."""

    name: str
    protects: str
    holds: bool
    used: bool
    advice: str = ""


def layers() -> list[Layer]:
    """All layers, tried in this process or in a short-lived child; nothing on the machine is changed."""
    linux = sys.platform == "linux"
    jailed = jailed_layers() if linux else []
    return [
        Layer("own process", "answers, seeds and the gradebook are not in the memory of student code", True, True),
        Layer("rlimits", "memory, file size, open files, core dumps", rlimits_hold(), True, "grade on Linux"),
        Layer(
            "seccomp",
            "no new processes or programs, sockets, signals",
            "seccomp" in jailed,
            True,
            "Linux on x86-64 or Arm",
        ),
        Layer(
            "Landlock", "no files but inputs and libraries, no TCP", "Landlock" in jailed, True, "Linux 5.13 or newer"
        ),
        Layer(
            "bubblewrap",
            "no network, no other processes, no other files",
            linux and bubblewrap_holds(),
            False,
            "apt-get install bubblewrap",
        ),
    ]


def rlimits_hold() -> bool:
    code = (
        "import resource as r, sys\n"
        "r.setrlimit(r.RLIMIT_AS, (1 << 29, 1 << 29))\n"
        "try: bytearray(1 << 30)\n"
        "except MemoryError: sys.exit(7)"
    )
    return hasattr(resource, "RLIMIT_AS") and run([sys.executable, "-S", "-c", code]) == 7


def jailed_layers() -> list[str]:
    """The layers that a process of ours can set here, each proved by an access that then fails."""
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); import jail\n"
        "done = jail.confine([])\n"
        "def refused(call):\n"
        "    try: call()\n"
        "    except PermissionError: return True\n"
        "if 'Landlock' in done and not refused(lambda: os.listdir('/')): done.remove('Landlock')\n"
        "if 'seccomp' in done and not refused(os.fork): done.remove('seccomp')\n"
        "os._exit(32 + ('Landlock' in done) + 2 * ('seccomp' in done))"
    )
    status = run([sys.executable, "-S", "-c", code, str(Path(__file__).parent)])
    return [name for bit, name in ((1, "Landlock"), (2, "seccomp")) if 32 <= status < 36 and status & bit]


def bubblewrap_holds() -> bool:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return False
    return run([bwrap, "--ro-bind", "/", "/", "--unshare-all", "--die-with-parent", "true"]) == 0


def run(command: list[str]) -> int:
    """A command's exit status (negative: the signal that ended it); 255 when it cannot be run."""
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return 255
