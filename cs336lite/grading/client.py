"""The trusted side of the wire: a submission that answers drivers, within budgets, from a process of its own."""

from __future__ import annotations

import inspect
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs336lite.course.paths import GRADED_MODULES
from cs336lite.course.spec import StudentError
from cs336lite.grading import wire

WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Budget:
    """What a submission may use. ``submission_seconds`` is processor time over all its checks."""

    load_seconds: float = 20.0
    submission_seconds: float = 180.0
    memory_bytes: int = 2 << 30
    patience: float = 4.0  # wall-clock limit, as a multiple of the processor-time limit


class WorkerFailure(RuntimeError):
    """The worker itself cannot be started or does not answer: nothing to do with the submission."""


class Worker:
    """A process that imported what the checks need and forks a child per submission.

    Args:
        warm: modules to import once, before any fork.
        budget: limits of each submission.
    """

    def __init__(self, warm: tuple[str, ...] = (), budget: Budget = Budget()) -> None:
        self.budget = budget
        self.folder = Path(tempfile.mkdtemp(prefix="cs336lite-worker-"))
        prepare_library(self.folder / "library")
        (self.folder / "matplotlib").mkdir()
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        library = str(self.folder / "library")
        options = {
            "folder": str(self.folder),
            "path": [library, *packages()],
            "warm": warm,
            "memory": budget.memory_bytes,
            "seconds": int(budget.load_seconds + budget.submission_seconds) + 10,  # the client's own limits come first
            "readable": [library, *packages(), *system_folders()],
        }
        self.process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-S", str(WORKER), str(theirs.fileno()), json.dumps(options)],
            pass_fds=[theirs.fileno()],
            env=clean_environment(self.folder),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        theirs.close()
        if self.ask(b"", 120) != b"ready":
            reason = self.process.stderr.read().decode(errors="replace").strip().splitlines()[-1:]
            self.close()
            raise WorkerFailure(f"the grading worker did not start: {' '.join(reason) or 'no reason given'}")
        # nothing that the worker prints later is read; a closed pipe cannot fill up and stall it
        self.process.stderr.close()

    def ask(self, message: bytes, seconds: float, handles: tuple[int, ...] = ()) -> bytes:
        """The worker's answer to a control message; empty when there is none."""
        try:
            if message:
                socket.send_fds(self.control, [message], handles)
            ready, _, _ = select.select([self.control], [], [], seconds)
            return self.control.recv(64) if ready else b""
        except OSError:
            return b""

    def spawn(self, folder: Path) -> tuple[socket.socket, int]:
        """The channel to a fresh child that can read ``folder``, and the child's process number."""
        ours, theirs = socket.socketpair()
        answer = self.ask(b"spawn " + os.fsencode(folder), 60, (theirs.fileno(),))
        theirs.close()
        if not answer.isdigit():
            ours.close()
            raise WorkerFailure("the grading worker does not answer")
        return ours, int(answer)

    def kill(self, pid: int) -> int:
        """End a child; the number of the signal that had already ended it, or 0."""
        answer = self.ask(b"kill %d" % pid, 60)
        return int(answer) if answer.isdigit() else 0

    def close(self) -> None:
        self.control.close()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def student(self, cells: tuple[tuple[str, str], ...], name: str = "__main__") -> Iterator[RemoteStudent]:
        """A submission's cells ``(label, source)`` as a student that checks may ask."""
        student = RemoteStudent(self, cells, name)
        try:
            yield student
        finally:
            student.close()


class RemoteStudent:
    """A submission across the wall (a `cs336lite.course.spec.Student`).

    The child starts with the first question and is started again, cells and all, when a check has lost it. Every
    question raises `StudentError` when the child raises, answers nonsense, dies, or uses up a budget.
    """

    def __init__(self, worker: Worker, cells: tuple[tuple[str, str], ...], name: str) -> None:
        self.worker = worker
        self.cells = cells
        self.name = name
        self.folder = Path(tempfile.mkdtemp(dir=worker.folder, prefix="inputs-"))
        self.folder.chmod(0o755)
        self.channel: socket.socket | None = None
        self.pid = 0
        self.load_errors: list[tuple[str, str, int]] = []
        self.load_failure: StudentError | None = None
        self.spent = 0.0  # processor seconds of all children so far
        self.check_limit = self.check_spent = 0.0
        self.files = 0
        self.layers: tuple[str, ...] = ()  # of the jail, as the child found them to hold

    # -- what a check may ask -----------------------------------------------------------------------------------

    def run(self, driver: Callable, *args: Any) -> Any:
        return self.measure(driver, args)[0]

    def cpu_seconds(self, driver: Callable, *args: Any) -> float:
        return self.measure(driver, args)[1]

    def file(self, data: bytes) -> str:
        self.files += 1
        path = self.folder / f"input-{self.files}"
        path.write_bytes(data)
        path.chmod(0o444)
        return str(path)

    # -- how it is asked ----------------------------------------------------------------------------------------

    def begin(self, seconds: float) -> None:
        """Start a check, which may use this much processor time."""
        self.check_limit, self.check_spent = seconds, 0.0

    def measure(self, driver: Callable, args: tuple) -> tuple[Any, float]:
        self.ensure_loaded()
        left = self.check_limit - self.check_spent
        source = textwrap.dedent(inspect.getsource(driver))
        frame = wire.pack("run", args, source=source, function=driver.__name__)
        answer, seconds = self.exchange(frame, left, f"{self.check_limit:g} s for this check")
        self.check_spent += seconds
        if answer["op"] == "error":
            raise self.explain(answer)
        if answer["op"] != "value":
            raise StudentError("BadAnswer", "your code interfered with the grader's connection")
        return answer["value"], seconds

    def ensure_loaded(self) -> None:
        if self.load_failure is not None:
            raise self.load_failure
        if self.channel is not None:
            return
        self.channel, self.pid = self.worker.spawn(self.folder)
        limit = self.worker.budget.load_seconds
        try:
            # what comes before the first cell was sent by the worker's own code: it can be believed
            self.layers = tuple(self.exchange(b"", limit, "the jail")[0]["value"])
            answer, _ = self.exchange(
                wire.pack("load", list(self.cells), name=self.name), limit, f"{limit:g} s to run its cells"
            )
        except StudentError as error:
            self.load_failure = StudentError(error.kind, f"while its cells were run: {error}")
            raise self.load_failure from None
        self.load_errors = self.read_load_errors(answer)

    def exchange(self, frame: bytes, seconds: float, limit: str) -> tuple[dict[str, Any], float]:
        """Send a frame; the answer, and the processor seconds it took the child."""
        left = self.worker.budget.submission_seconds - self.spent
        if left <= 0:
            raise StudentError(
                "TimeLimit", f"the submission used up its {self.worker.budget.submission_seconds:g} s in earlier checks"
            )
        if seconds > left:
            seconds, limit = left, f"{self.worker.budget.submission_seconds:g} s for the whole submission"
        meter = Meter(self.pid, seconds, self.worker.budget.patience)
        try:
            self.channel.setblocking(False)
            self.send(frame, meter)
            prefix = self.receive(wire.PREFIX.size, meter)
            answer = wire.unpack(prefix, self.receive(wire.frame_length(prefix), meter))
            used = meter.used()
            self.spent += used
            return answer, used
        except wire.WireError:
            self.lose(meter)
            raise StudentError("BadAnswer", "the answer is too large, or no value that can be judged") from None
        except TimeoutError:
            self.lose(meter)
            raise StudentError("TimeLimit", f"time limit: more than {limit} (an endless loop, or too slow)") from None
        except (ConnectionError, EOFError, OSError):
            signal = self.lose(meter)
            how = "used more memory than allowed, or crashed" if signal else "ended its own process"
            raise StudentError("Died", f"the submission {how} while it was asked") from None

    def send(self, data: bytes, meter: Meter) -> None:
        view = memoryview(data)
        while view:
            meter.wait(self.channel, writing=True)
            view = view[self.channel.send(view) :]

    def receive(self, count: int, meter: Meter) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            meter.wait(self.channel)
            part = self.channel.recv(min(count - len(parts), 1 << 20))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)

    def lose(self, meter: Meter) -> int:
        """Give the child up; it is started afresh for the next check."""
        used = meter.used()
        self.spent += used
        self.check_spent += used
        return self.stop()

    def stop(self) -> int:
        if self.channel is None:
            return 0
        self.channel.close()
        self.channel = None
        return self.worker.kill(self.pid)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def explain(self, answer: dict[str, Any]) -> StudentError:
        kind = wire.plain_name(answer.get("kind"))
        cell, line = answer.get("cell"), answer.get("line")
        at = f" (cell {cell}, line {line})" if self.is_place(cell, line) else ""
        if kind == "MissingName":
            name = wire.plain_name(answer.get("detail"))
            because = "".join(f"; cell {c} stopped with {k} on line {n}" for c, k, n in self.load_errors[:3])
            return StudentError(
                "Missing", f"`{name}` is not defined{because or ': has its cell been deleted or renamed?'}"
            )
        if kind == "NotImplementedError":
            return StudentError("Unsolved", f"this exercise is not solved yet: NotImplementedError{at}")
        if kind == "MemoryError":
            limit = self.worker.budget.memory_bytes / 2**30
            return StudentError("MemoryLimit", f"memory limit: more than {limit:g} GiB{at}")
        if kind == "BadAnswer":
            return StudentError(
                "BadAnswer", "the answer has a type that is not asked for, or is too large to be judged"
            )
        return StudentError(kind, f"your code raised {kind}{at}")

    def is_place(self, cell: Any, line: Any) -> bool:
        """Whether the child named a cell that the submission has; anything else is not repeated to anybody."""
        return isinstance(cell, str) and type(line) is int and any(cell == label for label, _ in self.cells)

    def read_load_errors(self, answer: dict[str, Any]) -> list[tuple[str, str, int]]:
        """Which cells failed, as the child tells it; an answer of another form counts as none."""
        errors = answer.get("value") if answer.get("op") == "loaded" else None
        found = []
        for error in errors if isinstance(errors, list) else []:
            if isinstance(error, dict) and self.is_place(error.get("cell"), error.get("line")):
                found.append((error["cell"], wire.plain_name(error.get("kind")), error["line"]))
        return found


class Meter:
    """Watches one question to a child: its processor time, and a multiple of that on the wall clock."""

    def __init__(self, pid: int, seconds: float, patience: float) -> None:
        self.clock = (~pid << 3) | 2  # Linux: the processor-time clock of another process (see clock_getcpuclockid)
        self.start = self.read()
        self.seconds = seconds
        self.wall_end = time.monotonic() + patience * seconds + 5

    def read(self) -> float:
        try:
            return time.clock_gettime(self.clock)
        except OSError:  # the process is gone
            return getattr(self, "last", 0.0)

    def used(self) -> float:
        self.last = self.read()
        return max(0.0, self.last - self.start)

    def wait(self, channel: socket.socket, writing: bool = False) -> None:
        """Return when the channel is ready. Raises TimeoutError when a limit is passed first."""
        pause = 0.0
        while True:
            readers, writers = ([], [channel]) if writing else ([channel], [])
            readable, writable, _ = select.select(readers, writers, [], pause)
            if readable or writable:
                return
            if self.used() > self.seconds or time.monotonic() > self.wall_end:
                raise TimeoutError
            pause = 0.05


def packages() -> list[str]:
    """The folders of installed packages, without what .pth files add (an editable cs336lite among them)."""
    return [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]


def system_folders() -> list[str]:
    """What Python and its libraries read while they run, and nothing of anybody's own."""
    library = sysconfig.get_paths()["stdlib"]
    shared = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime"]
    devices = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"]
    return [library, str(Path(sys.base_prefix) / "lib"), *shared, *devices]


def clean_environment(home: Path) -> dict[str, str]:
    """An environment that tells nothing of the instructor's, with hashing and threads made steady."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": str(home / "matplotlib"),  # matplotlib wants to see such a folder, and writes nothing into it
    }


QUIET_COURSE = '''"""What notebooks import from the course, with nothing behind it: the grader does the judging."""


def check(*args, **kwargs):
    return None


hint = status = export_solution = have = check
'''


def prepare_library(folder: Path) -> None:
    """A `cs336lite` for submissions: the lectures' modules, quiet tools, and no graded module at all."""
    package = folder / "cs336lite"
    package.mkdir(parents=True)
    source = Path(__file__).resolve().parents[1]
    graded = set(GRADED_MODULES.values())
    for module in source.glob("*.py"):
        if module.stem not in graded and module.stem != "cli":
            shutil.copy(module, package / module.name)
    (package / "course.py").write_text(QUIET_COURSE)
