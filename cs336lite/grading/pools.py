"""Where submissions are judged: in processes of this machine, or on the machines of a dask cluster.

A pool takes items one by one and gives back verdicts as they come, in any order. It holds a few at a time, so that
the memory of the runner does not grow with the class. A process that dies is replaced, and what it was judging goes on
where it was; an item that was lost too often comes back with a `WorkerFailure` in place of a verdict.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from cs336lite.course.paths import CourseError
from cs336lite.course.spec import CheckResult
from cs336lite.grading.budget import WorkerFailure
from cs336lite.grading.judge import Judge, grader_version, verdict_of
from cs336lite.grading.limited import Exceeded, Failed, Limited, Limits, Lost
from cs336lite.grading.submission import Submission
from cs336lite.grading.verdicts import Verdict
from cs336lite.scratch import sweep

Answer = tuple["Item", Verdict | WorkerFailure]


@dataclass(eq=False)
class Item:
    """A submission to judge, and how far it is. ``label`` and ``carried`` are the caller's.

    ``failure`` says why there is no submission: it could not be read, through no fault of its own.
    """

    label: Any
    submission: Submission
    carried: Any = None
    failure: WorkerFailure | None = None
    results: list[CheckResult] = field(default_factory=list)
    about: CheckResult | None = None  # the check that runs now
    used: dict[str, Any] = field(default_factory=dict)  # of its budget
    exceeded: int = 0  # checks at which it took the judging process beyond a limit
    lost: int = 0  # processes that somebody else killed while it was judged
    unopened: int = 0  # and before
    began: float = field(default_factory=time.monotonic)


class Processes:
    """Processes of this machine that judge, each with limits, a worker of its own, and a pipe of its own to this one.

    They share no queue and no lock, so that one that is killed leaves nothing behind that another waits for. Checks whose
    answers take their process beyond a limit fail, and the checks after them go on in another process; after
    `MOST_EXCEEDED` of them the rest fails too. An item whose processes are killed by somebody else, `MOST_LOST` times while it
    is judged or `MOST_UNOPENED` times before, comes back with a `WorkerFailure`.

    Up to ``jobs`` of them work at once. Where the caller says in ``left`` how many items are still to come, another one is
    started only when these would take longer without it than it takes to start.
    """

    LIMITS = Limits()
    MOST_EXCEEDED = 2
    MOST_LOST = 3
    MOST_UNOPENED = 10  # the machine itself is then in trouble
    USUAL_START = 5.0  # seconds to a first verdict, of which no item is blamed
    MOST_GROWN = 256 << 20  # bytes: a process that has grown by more is replaced, so that the next has all its memory

    def __init__(self, judge: Judge, jobs: int) -> None:
        self.judge = judge
        self.jobs = jobs
        self.idle: list[Bench] = []
        self.busy: dict[Connection, tuple[Bench, Item]] = {}
        self.left: int | None = None
        self.first: float | None = None  # seconds from the start of a process to its first verdict
        self.later: list[float] = []  # seconds of the verdicts after a first one

    def take(self, item: Item) -> Iterator[Answer]:
        answers: list[Answer] = []
        while not (answers or self.idle or (len(self.busy) < self.jobs and self.worth_another())):
            answers = self.look()
        self.submit(item)  # before the caller is busy with answers
        yield from answers

    def finish(self) -> Iterator[Answer]:
        while self.busy:
            yield from self.collect()

    def submit(self, item: Item) -> None:
        bench = self.idle.pop() if self.idle else Bench(self.judge, self.LIMITS)
        self.busy[bench.connection] = bench, item
        bench.hear(item, self.MOST_EXCEEDED)

    def worth_another(self) -> bool:
        """Whether another process would be through with its share of what is left sooner than it can be started."""
        working = len(self.idle) + len(self.busy)
        if working == 0 or self.left is None:
            return True
        now = time.monotonic()
        running = [now - bench.since - (self.USUAL_START if bench.new else 0.0) for bench, _ in self.busy.values()]
        each = max([sum(self.later) / len(self.later) if self.later else 0.0, *running])
        start = self.USUAL_START if self.first is None else max(self.first - each, 0.0)
        # what is left takes so many seconds now, and with another one the part 1 / (working + 1) less
        return self.left * each / working / (working + 1) > start

    def collect(self) -> list[Answer]:
        """Wait for answers, at least one."""
        answers: list[Answer] = []
        while self.busy and not answers:
            answers = self.look()
        return answers

    def look(self) -> list[Answer]:
        """Wait for a moment; the answers that have come."""
        answers: list[Answer] = []
        ready = wait(list(self.busy), Limited.PAUSE)
        for connection in list(self.busy):
            bench, item = self.busy[connection]
            try:
                verdict = bench.advance(item) if connection in ready else bench.look()
            except (Exceeded, Lost) as end:
                del self.busy[connection]
                bench.close()
                if (failure := self.after(end, item, bench.card is not None)) is not None:
                    answers.append((item, failure))
                continue
            if verdict is not None:
                del self.busy[connection]
                self.note(bench)
                if bench.grown > self.MOST_GROWN or isinstance(verdict, WorkerFailure):
                    bench.close()
                else:
                    self.idle.append(bench)
                if isinstance(verdict, Verdict):
                    self.judge.keep_verdict(item.submission, verdict)
                answers.append((item, verdict))
        return answers

    def note(self, bench: Bench) -> None:
        """Remember how long a verdict took."""
        seconds = time.monotonic() - bench.since
        if not bench.new:
            self.later.append(seconds)
        elif self.first is None:
            self.first = seconds
        bench.new = False

    def after(self, end: Exceeded | Lost, item: Item, opened: bool) -> WorkerFailure | None:
        """Go on with an item whose process ended; the failure when there is nothing more to try."""
        if isinstance(end, Exceeded) and item.about is not None:
            message = f"the answer could not be judged: {TOLD[end.what]}"
            item.results.append(replace(item.about, message=message))
            item.about = None
            item.exceeded += 1
        else:
            item.lost += opened
            item.unopened += not opened
            if item.lost == self.MOST_LOST or item.unopened == self.MOST_UNOPENED:
                return WorkerFailure(f"its grading process was lost {item.lost + item.unopened} times: {end}")
        self.submit(item)
        return None

    def close(self) -> None:
        for bench in [*self.idle, *(bench for bench, _ in self.busy.values())]:
            bench.close()
        self.idle, self.busy = [], {}
        sweep()  # what those that were killed left

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


TOLD = {
    "time": "looking at it takes more time than an answer may cost",
    "memory": "looking at it takes more memory than an answer may cost",
    "output": "looking at it takes more memory than an answer may cost",
    "crash": "looking at it ends the process that looks",
}
GIVEN_UP = "not judged, because answers to earlier checks could not be judged within the limits"


class Bench:
    """One limited process of `Processes` in which a bench is open (see `bench`)."""

    def __init__(self, judge: Judge, limits: Limits) -> None:
        self.judge = judge
        self.process = Limited(limits)
        self.connection = self.process.connection
        self.card: dict[str, Any] | None = None  # what the bench says of its checks, once it is open
        self.next: tuple = ()  # the call that waits until it is open
        self.grown = 0
        self.new, self.since = True, time.monotonic()  # until its first verdict; when it began what it does now
        judge_ = judge.source, judge.seed, judge.trust, judge.strict, list(judge.layers), asdict(judge.budget)
        self.process.begin("cs336lite.grading.bench:open_bench", str(judge.source_path), *judge_, bounded=False)

    def hear(self, item: Item, most_exceeded: int) -> None:
        problem = f"nothing could be judged: {item.submission.problem}" if item.submission.problem else ""
        if item.exceeded >= most_exceeded:
            problem = GIVEN_UP
        item.about = None
        if not self.new:
            self.since = time.monotonic()
        cells = [list(cell) for cell in item.submission.cells]
        self.next = (cells, item.submission.name, problem, len(item.results), item.used)
        if self.card is not None:
            self.go_on()

    def go_on(self) -> None:
        self.process.begin("cs336lite.grading.bench:hear", *self.next)

    def advance(self, item: Item) -> Verdict | WorkerFailure | None:
        """Take what the process says; the verdict, or why there is none, when that was the end.

        Raises Exceeded, Lost and CourseError.
        """
        try:
            kind, value = self.process.receive()
        except Failed as error:
            return WorkerFailure(f"the grader failed: {error}")
        if self.card is None:
            self.card = value
            self.go_on()
        elif kind == "value":
            self.grown = value.get("grown", 0)
            if "failure" in value:
                return WorkerFailure(value["failure"])
            wall = time.monotonic() - item.began
            return verdict_of(self.judge, item.submission, item.results, self.card, item.used, wall)
        elif "about" in value:
            item.about = CheckResult(**value["about"])
        else:
            item.results.append(CheckResult(**value["result"]))
            item.about, item.used = None, value["used"]
        return None

    def look(self) -> None:
        self.process.look()

    def close(self) -> None:
        self.process.close()


# -- a cluster --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Course:
    """All that a distant process needs to judge an assignment."""

    assignment: str
    spec: str
    seed: str
    trust: bool
    strict: bool
    version: str  # of the grader: see `grader_version`


class Cluster:
    """The workers of a dask scheduler; each needs this version of cs336lite, and no shared files.

    dask starts a task again when its worker dies.
    """

    RETRIES = 3

    def __init__(self, judge: Judge, address: str) -> None:
        try:
            from distributed import Client
        except ModuleNotFoundError:
            raise CourseError("--dask needs dask: pip install distributed") from None
        self.judge = judge
        self.course = Course(
            judge.name, judge.source, judge.seed, judge.trust, judge.strict, grader_version(judge.name)
        )
        try:
            self.client = Client(address, timeout=20, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise CourseError(f"no dask scheduler answers at {address} ({type(error).__name__})") from None
        self.running: dict[Any, Item] = {}
        self.left: int | None = None

    def take(self, item: Item) -> Iterator[Answer]:
        future = self.client.submit(judge_far_away, self.course, item.submission, pure=False, retries=self.RETRIES)
        self.running[future] = item
        while len(self.running) > 2 * max(1, sum(self.client.nthreads().values())):
            yield from self.collect()

    def finish(self) -> Iterator[Answer]:
        while self.running:
            yield from self.collect()

    def collect(self) -> Iterator[Answer]:
        from distributed import wait as wait_for
        from distributed.scheduler import KilledWorker

        with self.client.as_current():
            done = wait_for(list(self.running), return_when="FIRST_COMPLETED").done
        for future in done:
            item = self.running.pop(future)
            try:
                verdict = future.result()
            except (KilledWorker, Unjudged) as error:
                yield item, WorkerFailure(str(error))
                continue
            self.judge.keep_verdict(item.submission, verdict)
            yield item, verdict

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.cancel(list(self.running))
        self.client.close()


class Unjudged(Exception):
    """A `WorkerFailure` on its way home: dask takes a BaseException for its own end."""


_here = threading.local()  # of a thread of a dask worker: its judge, and for what


def judge_far_away(course: Course, submission: Submission) -> Verdict:
    """Judge on a dask worker, with a judge that the next submission of this course finds ready."""
    if course.version != grader_version(course.assignment):
        raise CourseError("a dask worker has another version of cs336lite than this machine: install the same on both")
    if getattr(_here, "course", None) != course:
        if hasattr(_here, "judge"):
            _here.judge.close()
        _here.judge = Judge.of(course.assignment, course.spec, course.seed, trust=course.trust, strict=course.strict)
        _here.course = course
        atexit.register(_here.judge.close)
    try:
        return _here.judge.judge(submission)
    except WorkerFailure as failure:
        raise Unjudged(str(failure)) from None
