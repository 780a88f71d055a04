"""The trusted side of the wire: a submission that answers drivers, within budgets, from a process of its own."""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cs336lite.course import beforehand
from cs336lite.course.answers import KINDS
from cs336lite.course.border import python_kinds
from cs336lite.course.spec import StudentError, known_kind
from cs336lite.grading import bubblewrap, jail, surroundings, wire
from cs336lite.grading.meter import CellMeter, Meter, TooMuch
from cs336lite.grading.places import (
    NOWHERE,
    Place,
    Trouble,
    because,
    lines_of,
    memory_for_a_place,
    names_in,
    place_said,
    read_place,
    read_troubles,
    said,
)
from cs336lite.grading.sharing import no_room
from cs336lite.scratch import Scratch, sweep

SMALL_PART = 16 << 10  # bytes: what is sent at once comes in greater parts, but for the last
MOST_SMALL_PARTS = 100  # of one answer
CREDENTIALS = struct.Struct("3i")  # process, user, group
# What stands before a command that is to be killed early when the machine's memory runs out (children even earlier).
FIRST_TO_GO = ("/bin/sh", "-c", '{ echo 500 >/proc/self/oom_score_adj; } 2>/dev/null; exec "$@"', "sh")


@dataclass(frozen=True)
class Budget:
    """What a submission may use, beside the processor time that each check allows it.

    Limits are processor time, so that a busy machine changes no verdict; time in which the submission neither computes
    nor waits for a processor is counted by itself.
    """

    load_seconds: float = 20.0  # to run its cells
    submission_seconds: float = 180.0  # all its checks together
    idle_seconds: float = 20.0  # asleep, all its checks together
    memory_bytes: int = 2 << 30
    answer_bytes: int = 64 << 20  # one answer
    submission_answer_bytes: int = 512 << 20  # all its answers together
    threads: int = 128


@dataclass(frozen=True)
class Needs:
    """What an assignment asks of a worker: modules to import once, library functions that must raise (see `refusal`),
    and modules of the course that may be imported. ``named`` are to be imported once a submission names them."""

    warm: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    def of(self, cells: Iterable[tuple[str, str]]) -> Needs:
        """What is needed when these cells are to run, too."""
        new = [module for module in self.named if any(module in source for _, source in cells)]
        return (
            replace(self, warm=(*self.warm, *new), named=tuple(m for m in self.named if m not in new)) if new else self
        )


class WorkerFailure(BaseException):
    """The worker itself cannot be started or does not answer: nothing to do with the submission.

    It derives from BaseException so that a check, which takes an exception for a wrong answer, lets it pass.
    """


class NoRoom(WorkerFailure):
    """The temporary folder takes no more: no submission can be judged."""


class Worker:
    """A process that imported what the checks need and forks a child per submission.

    Args:
        needs: what to import and what to refuse, before any fork.
        budget: limits of each submission.
        layers: the layers to set; those that this machine lacks are left out.
    """

    LAYERS = ("bubblewrap", *jail.LAYERS)

    def __init__(self, needs: Needs = Needs(), budget: Budget = Budget(), layers: tuple[str, ...] = LAYERS) -> None:
        self.needs = needs
        self.budget = budget
        sweep()
        self.scratch = Scratch("worker")
        self.bare: RemoteStudent | None = None  # without cells, for yardsticks
        self.folder = self.scratch.path
        self.absent = surroundings.course_modules() - {f"cs336lite.{name}" for name in needs.modules}
        self.wrapped = "bubblewrap" in layers and bubblewrap.way() is not None
        root = os.geteuid() == 0
        changed = self.wrapped and bubblewrap.changes_user()  # it is in a user namespace
        user = surroundings.stranger() if root and not changed else None
        self.user = os.geteuid() if user is None else user
        # whether the kernel counts the threads of this worker and its children by themselves
        self.counted_alone = surroundings.counts_by_namespace() if changed else user not in (None, surroundings.NOBODY)
        surroundings.prepare(self.folder, needs.modules)
        surroundings.open_up(self.folder)
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        library, packages = str(self.folder / "library"), surroundings.site_folders()
        readable = surroundings.readable_paths()
        needed = [] if user is None or self.wrapped else [*surroundings.roots(), str(self.folder)]
        self.held = [path for path in needed if not surroundings.open_to_others(path)]
        options = {
            "path": [library, *packages],
            "warm": needs.warm,
            "refused": needs.refused,
            "packages": packages,
            "user": user,
            "held": self.held,
            "layers": layers,
            "shut": surroundings.shut_modules(),
            "absent": sorted(self.absent),
            "readable": [*readable, *surroundings.DEVICES, str(self.folder)],
            "listable": sorted({os.path.dirname(path) for path in readable if path not in surroundings.roots()}),
            "roots": [*surroundings.roots(), *surroundings.DEVICES, library, str(self.folder / "matplotlib")],
            "seconds": int(budget.load_seconds + budget.submission_seconds) + 10,  # the client's own limits come first
        }
        path = self.folder / "worker" / "options.json"  # too long for a command line
        path.write_text(json.dumps(options))
        path.chmod(0o644)
        program = [surroundings.interpreter(), "-s", "-P", "-S", str(self.folder / "worker" / "worker.py")]
        wrapper = bubblewrap.command(self.folder) if self.wrapped else []
        self.control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        try:
            self.process = subprocess.Popen(
                [*FIRST_TO_GO, *wrapper, *program, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=surroundings.environment(self.folder),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:  # no more processes or memory for now
            self.control.close()
            self.scratch.close()
            raise WorkerFailure(f"the grading worker could not be started: {error.strerror}") from None
        finally:
            theirs.close()
        self.children: dict[int, int] = {}  # those that live: their numbers for the worker, and their processes here
        self.pid, said = self.receive_ready(120)
        if said != b"ready":
            self.process.kill()
            reason = self.process.stderr.read().decode(errors="replace").strip().splitlines()[-1:]
            self.close()
            raise WorkerFailure(f"the grading worker did not start: {' '.join(reason) or 'no reason given'}")
        # nothing that the worker prints later is read; a closed pipe cannot fill up and stall it
        self.process.stderr.close()

    def receive_ready(self, seconds: float) -> tuple[int, bytes]:
        """The worker's process, as one of this namespace, and the first that it says."""
        try:
            ready, _, _ = select.select([self.control], [], [], seconds)
            if not ready:
                return 0, b""
            said, ancillary, _, _ = self.control.recvmsg(64, socket.CMSG_LEN(CREDENTIALS.size))
            return sender(ancillary), said
        except (OSError, IndexError, struct.error):
            return 0, b""

    def ask(self, message: bytes, seconds: float, handles: tuple[int, ...] = ()) -> bytes:
        """The worker's answer to a control message; empty when there is none."""
        try:
            socket.send_fds(self.control, [message], handles)
            ready, _, _ = select.select([self.control], [], [], seconds)
            return self.control.recv(64) if ready else b""
        except OSError:
            return b""

    def spawn(self, folder: Path) -> Child:
        """A fresh child that can read ``folder``. Raises WorkerFailure when the worker is gone."""
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        place = memory_for_a_place()
        limits = f"{self.address_space() + self.budget.memory_bytes} {self.most_threads()} "
        answer = self.ask(b"spawn " + limits.encode() + os.fsencode(folder), 60, (theirs.fileno(), place))
        theirs.close()
        try:
            if not answer.isdigit():
                raise WorkerFailure("the grading worker does not answer")
            # the first frame was sent before any student code ran: it, and who sent it, can be believed
            pid, frame = receive_first(ours, 60)
        except BaseException:
            ours.close()
            os.close(place)
            raise
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        self.children[int(answer)] = pid
        with suppress(OSError):  # root may; else it stays with what the worker has
            Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
        layers = (["bubblewrap"] if self.wrapped else []) + list(frame["value"])
        return Child(ours, int(answer), pid, tuple(layers), place)

    def address_space(self) -> int:
        """The bytes of address space that the worker uses, and with it each child from its start."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[0]) * resource.getpagesize()
        except (OSError, IndexError):
            raise WorkerFailure("the grading worker was lost") from None

    def most_threads(self) -> int:
        """The kernel's limit for the threads of a child's user, all that there are now among them.

        Where it counts other processes too, there is room for what these may start meanwhile, and for a few more that
        the submission cannot take: they are for this grader.
        """
        if self.counted_alone:
            now = sum(map(surroundings.threads_of, [self.pid, *self.children.values()]))
            return now + self.budget.threads + 8  # the client sees that its own limit is passed, and says so
        most = surroundings.threads_of_user(self.user) + 4 * self.budget.threads
        allowed = resource.getrlimit(resource.RLIMIT_NPROC)[0]
        return most if allowed == resource.RLIM_INFINITY else max(1, min(most, allowed - 64))

    def reach(self, path: Path) -> str:
        """A path as a child must name it."""
        return jail.reach(str(path), self.held)

    def kill(self, number: int, gone: bool = False) -> int:
        """End a child; the signal that had already ended it, or 0. Raises WorkerFailure when the worker is gone.

        One that is ``gone`` has closed its channel, and gets a moment to end by itself.
        """
        self.children.pop(number, None)
        answer = self.ask(b"%s %d" % (b"reap" if gone else b"kill", number), 60)
        if not answer.isdigit():
            raise WorkerFailure("the grading worker was lost")
        return int(answer)

    def layers(self) -> tuple[str, ...]:
        """The layers that hold around a child, each as the child found it. Raises WorkerFailure."""
        child = self.spawn(self.folder / "inputs")
        child.close()
        self.kill(child.number)
        return child.layers

    @contextmanager
    def halted(self, number: int) -> Iterator[None]:
        """Let a child stand still. Raises WorkerFailure when the worker is gone."""
        self.signal(b"halt", number)
        yield
        self.signal(b"wake", number)

    def signal(self, what: bytes, number: int) -> None:
        if self.ask(b"%s %d" % (what, number), 60) != b"0":
            raise WorkerFailure("the grading worker was lost")

    def yardstick(self, driver: Callable, *args: Any) -> float:
        """The processor seconds of a driver in a child in which no submission ever ran. Raises WorkerFailure."""
        if self.bare is not None and self.bare.spent + self.bare.idle > self.budget.idle_seconds / 2:
            self.bare.close()  # before it meets its own limits
            self.bare = None
        if self.bare is None:
            self.bare = RemoteStudent(self, (), "yardstick")
        self.bare.begin(self.budget.submission_seconds)
        try:
            return self.bare.cpu_seconds(driver, *args)
        except StudentError as error:
            raise WorkerFailure(f"a yardstick could not be measured: {error}") from None

    def close(self) -> None:
        self.control.close()  # at which a worker that is well ends by itself
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            if self.pid:  # bubblewrap, which waits for it, may have no right to take it with it
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()
        self.scratch.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def admit(self, cells: tuple[tuple[str, str], ...], name: str = "__main__") -> RemoteStudent:
        """Like `student`, to be closed by the caller."""
        return RemoteStudent(self, cells, name)

    @contextmanager
    def student(self, cells: tuple[tuple[str, str], ...], name: str = "__main__") -> Iterator[RemoteStudent]:
        """A submission's cells ``(label, source)`` as a student that checks may ask."""
        student = self.admit(cells, name)
        try:
            yield student
        finally:
            student.close()


@dataclass(frozen=True)
class Child:
    """A submission's process: its channel, its number for the worker, its process here, the layers around it, and the
    memory in which it says where it is."""

    channel: socket.socket
    number: int
    pid: int
    layers: tuple[str, ...]
    place: int

    def where(self) -> Place:
        return read_place(self.place)

    def close(self) -> None:
        self.channel.close()
        os.close(self.place)


def sender(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The process that sent a message, as the kernel says in what came with it."""
    return CREDENTIALS.unpack(ancillary[0][2][: CREDENTIALS.size])[0]


def receive_first(channel: socket.socket, seconds: float) -> tuple[int, dict[str, Any]]:
    """The sender of the first frame on a channel, as a process of this namespace, and the frame."""
    channel.settimeout(seconds)
    try:
        data, ancillary, _, _ = channel.recvmsg(wire.PREFIX.size, socket.CMSG_LEN(CREDENTIALS.size))
        rest = channel.recv(wire.frame_length(data), socket.MSG_WAITALL)
        return sender(ancillary), wire.unpack(data, rest)
    except (OSError, IndexError, struct.error, wire.WireError) as error:
        raise WorkerFailure(f"the grading worker could not start a submission ({type(error).__name__})") from None


class RemoteStudent:
    """A submission across the wall (a `cs336lite.course.spec.Student`).

    The child starts with the first question and is started again, cells and all, when a check has lost it. Every
    question raises `StudentError` when the child raises, answers nonsense, dies, or uses up a budget; `WorkerFailure`
    when the worker is gone, of which the submission is innocent.
    """

    LOSSES = 5  # of processes, while cells are run; more are not made good
    MOST_LEFT = 100  # statements that are left out
    MOST_TOLD = 5  # of them that the verdict names

    def __init__(self, worker: Worker, cells: tuple[tuple[str, str], ...], name: str) -> None:
        self.worker = worker
        self.budget = worker.budget
        self.cells = cells
        self.name = name
        self.folder = Path(tempfile.mkdtemp(dir=worker.folder / "inputs"))
        self.folder.chmod(0o755)
        self.child: Child | None = None
        self.troubles: list[Trouble] = []  # of its cells
        self.left: dict[
            tuple[int, int], Trouble
        ] = {}  # statements that are not run again: they lost a process, or time
        self.losses = 0  # of processes, while cells were run
        self.where = NOWHERE  # the statement that the last child was lost in
        self.load_failure: StudentError | None = None
        self.spent = 0.0  # processor seconds of all children so far
        self.idle = 0.0  # seconds in which they slept
        self.received = 0  # bytes of answers so far
        self.check_limit = self.check_spent = 0.0
        self.killed = False  # whether the current check lost its child to a signal that only others can send
        self.files = 0
        self.layers: tuple[str, ...] = ()  # of the jail, as the child found them to hold
        self.tell = False  # ask for the texts of exceptions: for an instructor alone, and never when grading
        self.stories: list[Any] = []  # what the child told of those that questions met, as it came
        self.cell_stories: list[Any] = []  # and of those in its cells

    # -- what a check may ask -----------------------------------------------------------------------------------

    def run(self, driver: Callable, *args: Any) -> Any:
        return self.measure(driver, args)[0]

    def cpu_seconds(self, driver: Callable, *args: Any) -> float:
        return self.measure(driver, args)[1]

    def timed(self, driver: Callable, *args: Any) -> tuple[Any, float]:
        return self.measure(driver, args)

    def yardstick(self, driver: Callable, *args: Any) -> float:
        if self.child is None:
            return self.worker.yardstick(driver, *args)
        with self.worker.halted(self.child.number):  # a thread of the submission's could slow it down
            return self.worker.yardstick(driver, *args)

    def file(self, data: bytes) -> str:
        self.files += 1
        path = self.folder / f"input-{self.files}"
        try:
            path.write_bytes(data)
        except OSError as error:
            raise NoRoom(no_room(error)) from None
        path.chmod(0o444)
        return self.worker.reach(path)

    # -- how it is asked ----------------------------------------------------------------------------------------

    def begin(self, seconds: float) -> None:
        """Start a check, which may use this much processor time."""
        self.check_limit, self.check_spent, self.killed = seconds, 0.0, False

    def used(self) -> dict[str, Any]:
        """What it has used of its budget, the layers that held around it, and which statements had to be left out: plain
        values, for `resume` and for the verdict."""
        left = [f"{said(trouble, self.cells)}: it was left out" for _, trouble in sorted(self.left.items())]
        used = {"spent": self.spent, "idle": self.idle, "received": self.received, "layers": list(self.layers)}
        return {**used, "left": left[: self.MOST_TOLD]}

    def resume(self, used: dict[str, Any]) -> None:
        """Go on where another student with the same cells was lost."""
        self.spent, self.idle = used.get("spent", 0.0), used.get("idle", 0.0)
        self.received, self.layers = used.get("received", 0), tuple(used.get("layers", ()))

    def measure(self, driver: Callable, args: tuple) -> tuple[Any, float]:
        self.ensure_loaded()
        left = self.check_limit - self.check_spent
        more = {"tell": True} if self.tell else {}
        frame = wire.pack("run", args, source=source_of(driver), function=driver.__name__, **more)
        answer, seconds = self.exchange(frame, left, f"{self.check_limit:g} s for this check")
        self.check_spent += seconds
        if answer["op"] == "error":
            self.stories += [answer.get("story")] if self.tell else []
            raise self.explain(answer, driver, args)
        if answer["op"] != "value":
            raise StudentError("BadAnswer", "your code interfered with the grader's connection")
        return answer["value"], seconds

    def ensure_loaded(self) -> None:
        """Have a child that ran the cells. One that a cell has lost is started again without the statement that did it."""
        if self.load_failure is not None:
            raise self.load_failure
        left = self.budget.load_seconds
        while self.child is None:
            self.child = self.worker.spawn(self.folder)
            self.layers = self.child.layers
            before, skip = self.spent, [list(place) for place in self.left]
            more = {"tell": True} if self.tell else {}
            frame = wire.pack("load", list(self.cells), name=self.name, skip=skip, threads=self.budget.threads, **more)
            watch = functools.partial(CellMeter, where=self.child.where, stop=self.interrupt)
            try:
                answer, _ = self.exchange(frame, left, f"{left:g} s to run its cells", watch)
            except StudentError as error:
                left -= self.spent - before
                if not self.killed and self.leave(error, left):
                    continue
                failure = StudentError(error.kind, f"while its cells were run: {error}")
                if not self.killed:
                    self.load_failure = failure
                raise failure from None
            told = answer.get("value") if answer.get("op") == "loaded" else None
            if self.tell and isinstance(told, list):
                self.cell_stories = [error.get("story") for error in told if isinstance(error, dict)]
            found = read_troubles(told, self.cells, self.advice) | self.left
            self.troubles = [found[key] for key in sorted(found)]

    def interrupt(self, place: Place, what: str) -> None:
        """Stop the statement that the child runs, as the button of Jupyter does; it is not run again."""
        if self.note(place, "took too long" if what == "time" else "slept or waited too long"):
            self.worker.signal(b"stop", self.child.number)

    def leave(self, error: StudentError, left: float) -> bool:
        """Whether the cells can be run again without the statement that lost their process."""
        how = {"TimeLimit": "took too long", "ThreadLimit": "started too many threads", "Died": str(error)}.get(
            error.kind
        )
        how = {"Died": "ended or crashed the process"}.get(error.kind, how)
        again = self.where.key in self.left and self.left[self.where.key].what == how  # it could not be interrupted
        self.losses += 1
        return how is not None and left > 0 and self.losses <= self.LOSSES and (again or self.note(self.where, how))

    def note(self, place: Place, what: str) -> bool:
        """Leave a statement out from now on. False for one that the submission has not, or that was left before."""
        if not 0 <= place.cell < len(self.cells) or place.statement < 0 or place.key in self.left:
            return False
        if len(self.left) >= self.MOST_LEFT:
            return False
        line = place.line if 1 <= place.line <= lines_of(self.cells[place.cell][1]) else 0
        self.left[place.key] = Trouble(place.cell, line, line, line, what)
        return True

    def exchange(
        self, frame: bytes, seconds: float, limit: str, watch: Callable[..., Meter] | None = None
    ) -> tuple[dict[str, Any], float]:
        """Send a frame; the answer, and the processor seconds it took the child."""
        most = self.budget.submission_seconds
        if most <= self.spent:
            raise StudentError("TimeLimit", f"time limit: the submission used up its {most:g} s in earlier checks")
        slept = f"time limit: your code slept or waited for {self.budget.idle_seconds:g} s in all"
        if self.idle > self.budget.idle_seconds:
            raise StudentError("TimeLimit", slept)
        if seconds > most - self.spent:
            seconds, limit = most - self.spent, f"{most:g} s for the whole submission"
        meter = (watch or Meter)(self.child.pid, seconds, self.budget.idle_seconds - self.idle, self.budget.threads)
        try:
            self.child.channel.setblocking(False)
            self.send(frame, meter)
            prefix = self.receive(wire.PREFIX.size, meter)
            length = self.count_answer(wire.frame_length(prefix))
            answer = wire.unpack(prefix, self.receive(length, meter))
            self.count(meter)
            return answer, meter.used()
        except wire.TooLarge:
            self.lose(meter)
            raise self.output_limit() from None
        except wire.WireError:
            self.lose(meter)
            raise StudentError("BadAnswer", "the answer is no value that can be judged") from None
        except TooMuch as found:
            self.lose(meter)
            told = {
                "time": f"time limit: more than {limit} (an endless loop, or too slow)",
                "idle": slept,
                "threads": f"thread limit: more than {self.budget.threads} threads",
            }
            raise StudentError("ThreadLimit" if found.what == "threads" else "TimeLimit", told[found.what]) from None
        except (ConnectionError, EOFError, OSError):
            number = self.lose(meter, gone=True)
            self.killed = number == signal.SIGKILL  # it cannot send that to itself
            how = "used more memory than allowed, or crashed" if number else "ended its own process"
            raise StudentError("Died", f"the submission {how} while it was asked") from None

    def count_answer(self, length: int) -> int:
        """The length of a frame to read. Raises wire.TooLarge beyond what an answer, or all of them, may have."""
        self.received += length
        if length > self.budget.answer_bytes or self.received > self.budget.submission_answer_bytes:
            raise wire.TooLarge
        return length

    def output_limit(self) -> StudentError:
        one, all_ = self.budget.answer_bytes >> 20, self.budget.submission_answer_bytes >> 20
        return StudentError("OutputLimit", f"output limit: more than {one} MiB in one answer, or {all_} MiB in all")

    def send(self, data: bytes, meter: Meter) -> None:
        view = memoryview(data)
        while view:
            meter.wait(self.child.channel, writing=True)
            view = view[self.child.channel.send(view) :]

    def receive(self, count: int, meter: Meter) -> bytes:
        """So many bytes. Raises wire.WireError when they come drop by drop: nobody waits for long, but for ever."""
        parts, small = bytearray(), 0
        while len(parts) < count:
            meter.wait(self.child.channel)
            part = self.child.channel.recv(min(count - len(parts), 1 << 20))
            if not part:
                raise EOFError
            parts += part
            small += len(part) < SMALL_PART
            if small > MOST_SMALL_PARTS:
                raise wire.WireError("an answer in very many parts")
        return bytes(parts)

    def lose(self, meter: Meter, gone: bool = False) -> int:
        """Give the child up; it is started afresh for the next check."""
        self.check_spent += self.count(meter)
        begun = time.monotonic()
        number = self.stop(gone)
        if gone and not number:  # it may have closed its channel and lived on
            self.idle += time.monotonic() - begun
        return number

    def count(self, meter: Meter) -> float:
        """Add what a question took to what the submission has used; the processor seconds."""
        self.spent += meter.used()
        self.idle += meter.idle
        return meter.used()

    def stop(self, gone: bool = False) -> int:
        if self.child is None:
            return 0
        child, self.child = self.child, None
        self.where = child.where()
        child.close()
        return self.worker.kill(child.number, gone)

    def close(self) -> None:
        with suppress(WorkerFailure):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def explain(self, answer: dict[str, Any], driver: Callable, args: tuple) -> StudentError:
        """What an ``error`` frame means, in words of ours: all that the child says of it is checked or left out."""
        told = answer.get("kind") if isinstance(answer.get("kind"), str) else ""
        kind = known_kind(told)
        at = place_said(self.cells, answer.get("cell"), answer.get("line"))
        if told == "MissingName":
            name = answer.get("detail")
            what = f"`{name}`" if name in names_asked_for(driver, args) else "a name that this check asks for"
            reasons = because({name} if what.startswith("`") else set(), self.troubles, self.cells)
            asked = "" if reasons else ": has its cell been deleted or renamed?"
            return StudentError("Missing", f"{what} is not defined{asked}" + "".join(f"; {why}" for why in reasons))
        if told == "NotImplementedError" and answer.get("detail") == "unsolved":
            return StudentError("Unsolved", f"not solved yet: NotImplementedError{at}")
        if told == "MemoryError":
            return StudentError("MemoryLimit", f"memory limit: more than {self.budget.memory_bytes / 2**30:g} GiB{at}")
        if told == "OutputLimit":
            return self.output_limit()
        if told == "BadAnswer":
            return StudentError("BadAnswer", "the answer has a type that is not asked for")
        message = "" if at else unused(kind, answer.get("gave"), source_of(driver), names_asked_for(driver, args))
        message = message or f"your code raised {kind}{at}{self.advice(kind, answer.get('detail'))}"
        if kind == "NameError" and at:
            source = next(source for label, source in self.cells if label == answer["cell"])
            reasons = because(names_in(source, answer["line"]), self.troubles, self.cells)
            message += "".join(f"; {why}" for why in reasons)
        # a driver may raise exceptions of its own, for the check to look at
        kinds = [] if kind == "LibraryCall" else python_kinds(answer.get("kinds"))
        return StudentError(told if told in kinds_defined_in(driver) else kind, message, kinds)

    def advice(self, kind: str, detail: Any) -> str:
        """What to do about an exception. A name that the child tells is repeated only if this side knows it too."""
        if kind == "LibraryCall" and detail in self.worker.needs.refused:
            return f": `{detail.strip('*_')}` is what this exercise asks you to write"
        if isinstance(detail, str) and detail in surroundings.GRADED_WITHOUT:
            return f": {surroundings.GRADED_WITHOUT[detail]}"
        shut = (*surroundings.shut_modules(), *self.worker.absent, *beforehand.ABSENT)
        if kind == "ModuleNotFoundError" and isinstance(detail, str) and detail in shut:
            return f": `{detail}` is not there when work is graded; write what you need of it"
        return ""


def unused(error: str, gave: Any, source: str, names: list[str]) -> str:
    """What to say of an exception that arose in no line of the submission: what the driver could not use, as the child
    tells it, in words that this side knows."""
    if error not in UNUSED:
        return ""
    said = f"what your code gave could not be used ({error})"
    if not isinstance(gave, list) or len(gave) != 2 or not all(isinstance(part, str) for part in gave):
        return said
    name, kind = gave
    known = name in names or name in WORDS.findall(source) or name == "forward"
    called = f"`{name}`" if known else "a function of yours"
    if kind == "arguments":
        return f"{called} does not take the arguments that the interface names"
    if kind not in RETURNED:
        return said
    return f"{called} returned {RETURNED[kind]}"


WORDS = re.compile(r"\w+")
UNUSED = ("AttributeError", "IndexError", "KeyError", "RuntimeError", "TypeError", "ValueError")
RETURNED = {
    "NoneType": "None: is a `return` missing?",
    **{type_.__name__: f"{words}, and that cannot be used here" for type_, words in KINDS.items() if words != "None"},
    "Tensor": "a tensor, and that cannot be used here",
}


def names_asked_for(driver: Callable, args: tuple) -> list[str]:
    """The names that a driver takes from the submission: ``student.NAME``, ``getattr(student, "NAME")``, and
    ``getattr(student, argument)`` with what it was given for that argument."""
    student, *others = driver.__code__.co_varnames[: driver.__code__.co_argcount]
    source, given = source_of(driver), dict(zip(others, args))
    found = re.findall(rf"\b{student}\.(\w+)|\bgetattr\({student}, *[\"'](\w+)", source)
    asked = [given.get(name) for name in re.findall(rf"\bgetattr\({student}, *(\w+)", source)]
    return [name for pair in found for name in pair if name] + [name for name in asked if isinstance(name, str)]


@functools.cache
def kinds_defined_in(driver: Callable) -> frozenset[str]:
    """The exceptions that a driver defines itself."""
    return frozenset(re.findall(r"^ *class (\w+)\(", source_of(driver), re.MULTILINE))


@functools.cache
def source_of(driver: Callable) -> str:
    return textwrap.dedent(inspect.getsource(driver))
