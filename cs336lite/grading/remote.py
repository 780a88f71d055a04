"""A submission as a `Student`: drivers go to a child of the worker, and plain values come back within a budget."""

from __future__ import annotations

import functools
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cs336lite.course import beforehand
from cs336lite.course.border import python_kinds
from cs336lite.course.spec import StudentError, known_kind
from cs336lite.grading import surroundings, wire
from cs336lite.grading.advice import kinds_defined_in, names_asked_for, source_of, unused
from cs336lite.grading.budget import NoRoom, WorkerFailure
from cs336lite.grading.meter import CellMeter, Meter, TooMuch
from cs336lite.grading.places import (
    NOWHERE,
    Place,
    Trouble,
    because,
    given_stopped,
    is_given,
    lines_of,
    names_in,
    place_said,
    read_troubles,
    said,
)
from cs336lite.grading.sharing import no_room

if TYPE_CHECKING:
    from cs336lite.grading.client import Child, Worker

SMALL_PART = 16 << 10  # bytes: what is sent at once comes in greater parts, but for the last
MOST_SMALL_PARTS = 100  # of one answer


class RemoteStudent:
    """A submission across the wall (a `cs336lite.course.spec.Student`).

    The child starts with the first question and is started again, cells and all, when a check has lost it. Every
    question raises `StudentError` when the child raises, answers nonsense, dies, or uses up a budget; `WorkerFailure`
    when the worker is gone, of which the submission is innocent.
    """

    IDLE_SHARE = 0.25  # of what it may sleep, in one question: whoever waits in vain once loses no more than that check
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
        own = [trouble for _, trouble in sorted(self.left.items()) if not is_given(self.cells[trouble.cell][0])]
        left = [f"{said(trouble, self.cells)}: it was left out" for trouble in own]
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
        if self.child is None:
            self.expect_some_left()
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
        most, sleep = self.budget.submission_seconds, self.budget.idle_seconds
        self.expect_some_left()
        if seconds > most - self.spent:
            seconds, limit = most - self.spent, f"{most:g} s for the whole submission"
        rest, slept = sleep - self.idle, f"{sleep:g} s in all"
        if watch is None and rest > (share := max(1.0, self.IDLE_SHARE * sleep)):
            rest, slept = share, f"{share:g} s: for something that never comes?"
        meter = (watch or Meter)(self.child.pid, seconds, rest, self.budget.threads)
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
                "idle": f"time limit: your code slept or waited for {slept}",
                "threads": f"thread limit: more than {self.budget.threads} threads",
            }
            raise StudentError("ThreadLimit" if found.what == "threads" else "TimeLimit", told[found.what]) from None
        except (ConnectionError, EOFError, OSError):
            number = self.lose(meter, gone=True)
            self.killed = number == signal.SIGKILL  # it cannot send that to itself
            how = "used more memory than allowed, or crashed" if number else "ended its own process"
            raise StudentError("Died", f"the submission {how} while it was asked") from None

    def expect_some_left(self) -> None:
        """Raise StudentError where earlier checks took all that the submission may use."""
        for used, most, how in (
            (self.spent, self.budget.submission_seconds, "used up"),
            (self.idle, self.budget.idle_seconds, "slept or waited for"),
        ):
            if used >= most:
                raise StudentError("TimeLimit", f"time limit: the submission {how} its {most:g} s in earlier checks")

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
            asked_for = {name} if what.startswith("`") else set()
            reasons = because(asked_for, self.troubles, self.cells)
            lost = "its cell" if all(label for label, _ in self.cells) else "it"  # a plain file has no cells
            asked = "" if reasons else f": has {lost} been deleted or renamed?"
            if not reasons and given_stopped(asked_for, self.troubles, self.cells):
                asked = ": the code that was given for it did not run; is what stands above it as it was given?"
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
            sources = [source for label, source in self.cells if label == answer["cell"]]
            names = {name for source in sources for name in names_in(source, answer["line"])}
            reasons = because(names, self.troubles, self.cells)
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
