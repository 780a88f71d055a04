"""Where submissions are judged: in this process, in several, or on the machines of a dask cluster.

A pool takes items one by one and gives back verdicts as they come, in any order. It holds a few at a time, so that
the memory of the runner does not grow with the class. A process that dies is replaced, and what it was judging is judged
again; an item that was lost too often comes back with a `WorkerFailure` in place of a verdict.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
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
    """Several processes of this machine, each with a worker of its own, and a pipe of its own to this one.

    They share no queue and no lock, so that one that is killed leaves nothing behind that another waits for.
    """

    MOST_LOST = 10  # of an item's processes; the machine itself is then in trouble

    def __init__(self, judge: Judge, jobs: int, *, strict: bool) -> None:
        self.jobs = jobs
        self.arguments = (judge.course, judge.spec.name, judge.trust, strict)
        # started afresh: no database, no channel is inherited; and a fork server would leave its socket when killed
        self.context = multiprocessing.get_context("spawn")
        os.environ["PYTHONSAFEPATH"] = "1"  # nor is anything imported from the folder in which the grader was started
        self.idle: list[Member] = []
        self.busy: dict[Connection, tuple[Member, Item]] = {}

    def take(self, item: Item) -> Iterator[Answer]:
        answers = self.collect() if len(self.busy) == self.jobs else []
        self.submit(item)  # before the caller is busy with answers
        yield from answers

    def finish(self) -> Iterator[Answer]:
        while self.busy:
            yield from self.collect()

    def submit(self, item: Item) -> None:
        member = self.idle.pop() if self.idle else Member(self.context, self.arguments)
        self.busy[member.connection] = member, item
        with contextlib.suppress(OSError):  # it is dead: `collect` will see that
            member.connection.send(item.submission)

    def collect(self) -> list[Answer]:
        """Wait for answers, at least one. Items whose process died are given to another."""
        answers: list[Answer] = []
        while self.busy and not answers:
            for connection in wait(list(self.busy)):
                member, item = self.busy.pop(connection)
                try:
                    answer = connection.recv()
                except (EOFError, OSError):
                    member.close()
                    item.lost += 1
                    if item.lost < self.MOST_LOST:
                        self.submit(item)
                    else:
                        answers.append((item, WorkerFailure(f"its grading process was killed {item.lost} times")))
                    continue
                self.idle.append(member)
                if isinstance(answer, CourseError):
                    raise answer
                answers.append((item, answer))
        return answers

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for member in [*self.idle, *(member for member, _ in self.busy.values())]:
            member.close()


class Member:
    """One process of `Processes`, and this end of its pipe."""

    def __init__(self, context: Any, arguments: tuple) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()

    def close(self) -> None:
        self.connection.close()  # at which an idle process ends by itself
        self.process.join(10)
        self.process.kill()
        self.process.join()


def serve(connection: Connection, course: Path, assignment: str, trust: bool, strict: bool) -> None:
    """Judge what comes through the pipe, until it is closed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # never outlive the grader
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the grader, which then closes the pipe
    with Judge(course, assignment, trust=trust, strict=strict) as judge:
        while True:
            try:
                submission = connection.recv()
            except (EOFError, OSError):
                return
            answer = answer_of(judge, submission)
            with contextlib.suppress(OSError):  # nobody is there any more, as the next `recv` will tell
                connection.send(answer)


def answer_of(judge: Judge, submission: Submission) -> Verdict | WorkerFailure | CourseError:
    try:
        return judge.judge(submission)
    except (WorkerFailure, CourseError) as error:
        return error


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
            raise CourseError("--dask needs dask: pip install distributed") from None
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
