"""Where submissions are judged: in this process, in several, or on the machines of a dask cluster.

A pool takes items one by one and gives back verdicts as they come, in any order. It holds a few at a time, so that the
memory of the runner does not grow with the class. A process that dies is replaced, and what it was judging is judged
again; an item that was lost too often comes back with a `WorkerFailure` in place of a verdict.
"""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from cs336lite.course.paths import CourseError
from cs336lite.grading.client import WorkerFailure
from cs336lite.grading.submission import Submission
from cs336lite.grading.verdicts import Judge, Verdict, grader_version, judge_of

PR_SET_PDEATHSIG = 1
Answer = tuple["Item", Verdict | WorkerFailure]


@dataclass(eq=False)
class Item:
    """A submission to judge. ``label`` and ``carried`` are the caller's; ``lost`` counts the processes it lost."""

    label: Any
    submission: Submission
    carried: Any = None
    lost: int = field(default=0)


class ThisProcess:
    """The pool without a pool."""

    def __init__(self, judge: Judge, *, strict: bool) -> None:
        self.judge = judge
        judge.strict = strict

    def take(self, item: Item) -> Iterator[Answer]:
        try:
            yield item, self.judge.judge(item.submission)
        except WorkerFailure as failure:
            yield item, failure

    def finish(self) -> Iterator[Answer]:
        yield from ()

    def __enter__(self) -> ThisProcess:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Processes:
    """Several processes of this machine, each with a worker of its own."""

    MOST_LOST = 10  # of an item's processes; the machine itself is then in trouble

    def __init__(self, judge: Judge, jobs: int, *, strict: bool) -> None:
        self.jobs = jobs
        self.arguments = (judge.course, judge.spec.name, judge.trust, strict)
        self.executor: ProcessPoolExecutor | None = None
        self.running: dict[Future, Item] = {}

    def start(self) -> None:
        # from a server that knows nothing of this process: no database, no channel is inherited
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        os.environ["PYTHONSAFEPATH"] = "1"  # nor is anything imported from the folder in which the grader was started
        self.executor = ProcessPoolExecutor(self.jobs, context, start_in_process, self.arguments)

    def take(self, item: Item) -> Iterator[Answer]:
        self.submit(item)
        while len(self.running) > 2 * self.jobs:
            yield from self.collect()

    def finish(self) -> Iterator[Answer]:
        while self.running:
            yield from self.collect()

    def submit(self, item: Item) -> None:
        if self.executor is None:
            self.start()
        try:
            self.running[self.executor.submit(judge_in_process, item.submission)] = item
        except BrokenProcessPool:
            self.executor = None
            self.submit(item)

    def collect(self) -> Iterator[Answer]:
        done, _ = wait(self.running, return_when=FIRST_COMPLETED)
        lost = []
        for future in done:
            item = self.running.pop(future)
            try:
                yield item, future.result()
            except BrokenProcessPool:
                lost.append(item)
            except WorkerFailure as failure:
                yield item, failure
        if lost:  # a process was killed, and the executor gave up all that it had
            lost += self.running.values()
            self.running.clear()
            self.executor.shutdown(wait=True, cancel_futures=True)
            self.executor = None
        for item in lost:
            item.lost += 1
            if item.lost < self.MOST_LOST:
                self.submit(item)
            else:
                yield item, WorkerFailure(f"its grading process was killed {item.lost} times")

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        if self.executor is not None:
            self.executor.shutdown(wait=True, cancel_futures=True)


_judge: Judge | None = None  # of a process of `Processes`


def start_in_process(course: Path, assignment: str, trust: bool, strict: bool) -> None:
    global _judge
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # never outlive the grader
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the grader, which then ends its processes
    _judge = Judge(course, assignment, trust=trust, strict=strict)
    Finalize(None, _judge.close, exitpriority=10)  # atexit does not run in a pool's processes


def judge_in_process(submission: Submission) -> Verdict:
    return _judge.judge(submission)


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

    def __init__(self, judge: Judge, address: str, *, strict: bool) -> None:
        try:
            from distributed import Client
        except ModuleNotFoundError:
            raise CourseError("--dask needs dask: pip install 'cs336lite[dask]'") from None
        self.judge = judge
        self.course = Course(judge.spec.name, judge.spec.source, judge.seed, judge.trust, strict, grader_version())
        try:
            self.client = Client(address, timeout=20, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise CourseError(f"no dask scheduler answers at {address} ({type(error).__name__})") from None
        self.running: dict[Any, Item] = {}

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
            done = wait_for(list(self.running), return_when=FIRST_COMPLETED).done
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
    if course.version != grader_version():
        raise CourseError("a dask worker has another version of cs336lite than this machine: install the same on both")
    if getattr(_here, "course", None) != course:
        if hasattr(_here, "judge"):
            _here.judge.close()
        _here.judge = judge_of(course.assignment, course.spec, course.seed, trust=course.trust, strict=course.strict)
        _here.course = course
        atexit.register(_here.judge.close)
    try:
        return _here.judge.judge(submission)
    except WorkerFailure as failure:
        raise Unjudged(str(failure)) from None
