"""Which layers of protection this machine has for running other people's code, each one tried."""

from __future__ import annotations

import ctypes
import platform
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass


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
    return [
        Layer("own process", "answers, seeds and the gradebook are not in the memory of student code", True, True),
        Layer("rlimits", "memory, file size, open files, core dumps", rlimits_hold(), True, "grade on Linux"),
        Layer(
            "seccomp", "no exec, fork, sockets, ptrace", linux and seccomp_holds(), False, "a Linux kernel with seccomp"
        ),
        Layer(
            "Landlock",
            "no files but the inputs, no TCP",
            linux and landlock_version() > 0,
            False,
            "Linux 5.13 or newer",
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


def seccomp_holds() -> bool:
    """Strict mode allows read, write and exit alone: the child that opens a file must be killed by SIGKILL."""
    code = "import ctypes; libc = ctypes.CDLL(None); libc.prctl(22, 1, 0, 0, 0); libc.getppid()"
    return run([sys.executable, "-S", "-c", code]) == -9


def landlock_version() -> int:
    """Landlock's ABI version, 0 when the kernel has none (system call 444, flag 1 asks for the version)."""
    if platform.machine() not in ("x86_64", "aarch64"):
        return 0
    return max(0, ctypes.CDLL(None, use_errno=True).syscall(444, None, 0, 1))


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
