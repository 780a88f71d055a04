"""The trusted side of the wire: a submission that answers drivers, within budgets, from a process of its own."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs336lite.course.spec import StudentError
from cs336lite.grading import bubblewrap, jail, surroundings, wire
from cs336lite.grading.budget import Budget, Needs, WorkerFailure
from cs336lite.grading.places import Place, memory_for_a_place, read_place
from cs336lite.grading.remote import RemoteStudent
from cs336lite.scratch import Scratch, sweep

CREDENTIALS = struct.Struct("3i")  # process, user, group
# What stands before a command that is to be killed early when the machine's memory runs out (children even earlier).
FIRST_TO_GO = ("/bin/sh", "-c", '{ echo 500 >/proc/self/oom_score_adj; } 2>/dev/null; exec "$@"', "sh")


class Worker:
    """A process that imported what the checks need and forks a child per submission.

    Args:
        needs: what to import and what to refuse, before any fork.
        budget: limits of each submission.
        layers: the layers to set; those that this machine lacks are left out.
    """

    LAYERS = ("bubblewrap", *jail.LAYERS)

    def __init__(self, needs: Needs = Needs(), budget: Budget = Budget(), layers: tuple[str, ...] = LAYERS) -> None:  # noqa: B008 — both are frozen
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
