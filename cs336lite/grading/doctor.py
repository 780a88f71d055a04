"""Which layers of protection this machine has for running other people's code, each one tried."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cs336lite.grading import bubblewrap
from cs336lite.grading.client import Worker, WorkerFailure


@dataclass(frozen=True)
class Layer:
    """One layer: does it hold here, and how to get it."""

    name: str
    protects: str
    holds: bool
    advice: str = ""


def layers() -> list[Layer]:
    """All layers, each tried in a short-lived process; nothing on the machine is changed."""
    linux = sys.platform == "linux"
    jailed = jailed_layers() if linux else []
    user = user_of_a_child() if linux else None
    return [
        Layer(
            "own process", "answers, seeds and the gradebook are not in the memory of student code", bool(user), LINUX
        ),
        Layer("rlimits", "memory, processor time, file size, open files, threads", rlimits_hold(), LINUX),
        Layer("not root", "student code never runs as root", user not in (None, 0), LINUX),
        Layer("seccomp", "nothing but computing: no new process, socket or signal", "seccomp" in jailed, LINUX),
        Layer("Landlock", "no files but inputs and libraries, no TCP", "Landlock" in jailed, LANDLOCK),
        Layer(
            "bubblewrap",
            "no network, no other processes, no other files",
            linux and bubblewrap.way() is not None,
            bubblewrap_advice(),
        ),
    ]


LINUX = "Linux on x86-64 or Arm"
LANDLOCK = "Linux 5.13 or newer, with Landlock in its list of security modules (lsm=landlock,...)"


def bubblewrap_advice() -> str:
    """How to get namespaces: the program first, then the right to use it."""
    if shutil.which("bwrap") is None:
        return "apt-get install bubblewrap"
    return (
        "bwrap is installed, but may not make namespaces: allow user namespaces (Ubuntu 24.04: an AppArmor profile for "
        "bwrap, or sysctl kernel.apparmor_restrict_unprivileged_userns=0; in Docker: --security-opt seccomp=unconfined)"
    )


def user_of_a_child() -> int | None:
    """The user as which a submission's process runs; None when none can be started."""
    try:
        with Worker() as worker:
            child = worker.spawn(worker.folder / "inputs")
            status = Path(f"/proc/{child.pid}/status").read_text()
            child.channel.close()
            worker.kill(child.number)
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("Uid:")))
    except (WorkerFailure, OSError):
        return None


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


def run(command: list[str]) -> int:
    """A command's exit status (negative: the signal that ended it); 255 when it cannot be run."""
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return 255
