"""Which layers of protection this machine has for running other people's code, and what they guarantee, each one tried."""

from __future__ import annotations

import resource
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cs336lite.course.spec import StudentError
from cs336lite.grading import bubblewrap, exchange
from cs336lite.grading.budget import WorkerFailure
from cs336lite.grading.client import Worker
from cs336lite.grading.limited import Exceeded, Limited, Limits, Lost
from cs336lite.scratch import Scratch


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


@dataclass(frozen=True)
class Guarantee:
    """Something that a grader promises: does it hold here, and what is the case where it does not."""

    promise: str
    holds: bool
    otherwise: str = ""


def guarantees() -> list[Guarantee]:
    """What holds around a submission on this machine, each tried by a small one made for it."""
    linux = sys.platform == "linux"
    found = answers_of_a_probe() if linux else {}

    def tried(name: str, promise: str, otherwise: str) -> Guarantee:
        return Guarantee(promise, found.get(name, False), otherwise if found else "no submission can be started here")

    return [
        Guarantee("reading and judging happen in a process with limits", linux and process_is_limited(), LINUX),
        tried("apart", "no submission leaves anything for the next: it can write nowhere", "it can write somewhere"),
        tried("whole", "no file can be emptied", "the kernel is too old: see Landlock above"),
        tried(
            "alone", "no process outside the filter can be looked into", "processes can be seen: see bubblewrap above"
        ),
        tried(
            "unseen",
            "nothing tells which other files there are",
            "names, sizes and times can be asked: see bubblewrap above",
        ),
        tried("closed", "no network", "see seccomp above"),
        tried(
            "threads",
            "threads are limited by the kernel, for each submission by itself",
            "the kernel counts all processes of this user; the grader looks every 50 ms: see bubblewrap above",
        ),
        tried("first", "when memory runs out, the kernel ends submissions first", "the kernel may end any process"),
        tried("ours", "messages are made of our words, not of a submission's", "names that it made up are repeated"),
    ]


def promises(course: Path, config: Any) -> list[Guarantee]:
    """What holds of the course's folder and its exchange, with nbgrader's configuration there."""
    found = exchange.of_course(course, config)
    root = course.parent
    rooms = exchange.entered([course / name for name in exchange.ROOMS if (course / name).exists()])
    answers = exchange.entered([path for path in (root / "cs336lite", root / "tests", root / ".git") if path.is_dir()])
    problem = exchange.hand_in_problem(found)
    return [
        Guarantee(
            "no other user gets at hidden checks, sources, gradebook or what was handed in",
            not rooms,
            shlex.join(["chmod", "-R", "o-rwx", *map(str, rooms)]),
        ),
        Guarantee(
            "no other user reads the references in cs336lite/ and tests/",
            not answers,
            f"{shlex.join(['chmod', 'o-rwx', str(root)])}, where students have accounts on this machine",
        ),
        Guarantee(f"students can hand in through {found.folder}, as {found.course_id}", not problem, problem),
    ]


PROBE = """
import os, socket, sys, threading

def works(attempt, *arguments):
    try:
        attempt(*arguments)
    except OSError:
        return False
    return True

def write():
    here = os.path.dirname(sys.path[0])
    places = [here, here + "/inputs", os.environ["MPLCONFIGDIR"], sys.path[0], "/", "/tmp", "/var/tmp", "/dev/shm", "/dev"]
    return [p for p in places if works(lambda: os.mkdir(p + "/left")) or works(lambda: open(p + "/left", "w").close())]

def empty(path):
    flags = (os.O_TRUNC | how for how in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, 3))
    return [works(os.truncate, path, 0), *(works(os.open, path, how) for how in flags)]

def processes():
    names = [f"/proc/{pid}/{name}" for pid in (1, os.getppid()) for name in ("cmdline", "environ", "status", "mem")]
    return [name for name in names if works(open, name, "rb")]

def seen():
    return [path for path in ("/etc/passwd", "/home", "/var") if works(os.stat, path)]

def network():
    return [str(kind) for kind in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX) if works(socket.socket, kind)]

def threads():
    threading.stack_size(1 << 16)
    event, started = threading.Event(), 0
    try:
        while started < 1000:
            threading.Thread(target=event.wait, daemon=True).start()
            started += 1
    except RuntimeError:
        pass
    return started

def speak():
    raise type(WORD, (Exception,), {})
"""
WORD = "Passphrase"


def ask(student: Any, name: str, *args: Any) -> Any:
    return getattr(student, name)(*args)


def answers_of_a_probe() -> dict[str, bool]:
    """Which promises hold around a submission that tries to break them; empty when none can be started."""
    found = {}
    try:
        with (
            Worker() as worker,
            Scratch("course") as folder,
            worker.student((("1", f"WORD = {WORD!r}\n{PROBE}"),)) as student,
        ):
            folder.chmod(0o755)
            mine = folder / "file"
            mine.write_text("kept")
            mine.chmod(0o666)
            student.begin(10)
            found["apart"] = student.run(ask, "write") == []
            found["whole"] = not any(student.run(ask, "empty", str(mine))) and mine.read_text() == "kept"
            found["alone"] = student.run(ask, "processes") == []
            found["unseen"] = student.run(ask, "seen") == []
            found["closed"] = student.run(ask, "network") == []
            adjusted = int(Path(f"/proc/{student.child.pid}/oom_score_adj").read_text())
            found["first"] = adjusted > int(Path("/proc/self/oom_score_adj").read_text())
            try:
                student.run(ask, "speak")
            except StudentError as error:
                found["ours"] = WORD not in str(error)
            limit = worker.budget.threads
            student.budget = replace(student.budget, threads=1 << 20)  # so that nobody but the kernel counts them
            found["threads"] = student.run(ask, "threads") <= limit + 16
    except (WorkerFailure, StudentError, OSError):
        pass
    return found


def process_is_limited() -> bool:
    """Whether a process of our own is stopped that computes, or takes memory, beyond its limits."""
    held = []
    for function, limit, seconds in (("endless", "time", 0.2), ("greedy", "memory", 15.0)):
        try:
            with Limited(Limits(step_seconds=seconds, memory_bytes=1 << 28)) as process:
                process.call(f"{__name__}:{function}")
        except Exceeded as exceeded:
            held.append(exceeded.what == limit)
        except Lost:
            return False
    return held == [True, True]


def endless() -> None:
    while True:
        pass


def greedy() -> int:
    return len(bytearray(1 << 31))


LINUX = "Linux on x86-64 or Arm"
LANDLOCK = (
    "Linux 6.2 or newer, with Landlock in its list of security modules (lsm=landlock,...); "
    "before 6.2 it knows nothing of files being emptied, and is not enough by itself"
)


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
