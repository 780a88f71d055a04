"""Where checks look at answers: in a process with limits (see `limited`), which has the jail's worker beside it.

The judge outside opens a bench with the checks and the seed, and then has one submission after another heard: each check
is told before it begins and after it ends, so that one that ends the process can be named, and the next one goes on.
"""

from __future__ import annotations

import ast
from collections.abc import Generator, Iterator
from dataclasses import asdict, replace
from typing import Any

from cs336lite.course.paths import CourseError
from cs336lite.course.spec import Check, CheckResult, Spec, load_spec
from cs336lite.grading import limited, protection
from cs336lite.grading.budget import Budget, NoRoom, WorkerFailure
from cs336lite.grading.client import Worker
from cs336lite.grading.judge import needs_of, reading, versions
from cs336lite.grading.remote import RemoteStudent
from cs336lite.grading.sharing import EVERYWHERE, no_room
from cs336lite.grading.submission import Submission


class Bench:
    """Hears submissions with one worker.

    Args:
        spec: the checks; ``seed`` what their inputs are drawn from.
        trust: hear even where too few layers of protection hold.
        strict: a new worker for every submission.
        layers: the layers to set; those that this machine lacks are left out.
        budget: what a submission may use.
    """

    ATTEMPTS = 3

    def __init__(
        self,
        spec: Spec,
        seed: str,
        *,
        trust: bool = False,
        strict: bool = False,
        layers: tuple[str, ...] = Worker.LAYERS,
        budget: Budget | None = None,
    ) -> None:
        self.spec, self.seed, self.trust, self.strict, self.layers = spec, seed, trust, strict, layers
        self.budget = budget or Budget()
        self.needs = needs_of(spec)
        self.worker: Worker | None = None

    def hear(self, submission: Submission, begin: int = 0, used: dict[str, Any] | None = None) -> Iterator[dict]:
        """Run the checks from number ``begin`` on; before each one its number and an empty result, then its result.

        With a ``problem`` no code runs, and the problem is the message of every check.
        ``used`` is what the submission has used of its budget before; each result comes with it. Raises CourseError
        when there is too little protection, WorkerFailure when the worker was lost `ATTEMPTS` times.
        """
        used = dict(used or {})
        lost = 0
        student: RemoteStudent | None = None
        try:
            for number, check in enumerate(self.spec.checks[begin:], begin):
                failed = CheckResult(check.id, check.exercise, check.title, 0.0, check.points, False, "")
                if submission.problem:
                    result = replace(failed, message=submission.problem)
                    yield {"number": number, "result": asdict(result), "used": used}
                    continue
                yield {"number": number, "about": asdict(failed)}
                while True:
                    try:
                        if student is None:
                            self.expect(submission)
                            student = self.ready_worker().admit(submission.cells, submission.name)
                            student.resume(used)
                        result = self.judged(check, student)
                        break
                    except NoRoom:
                        raise
                    except WorkerFailure:  # killed, or out of memory: no fault of the submission's
                        lost += 1
                        if student is not None:
                            used, student = student.used(), None
                        self.close()
                        if lost == self.ATTEMPTS:
                            raise
                used = student.used()
                yield {"number": number, "result": asdict(result), "used": used}
        finally:
            if student is not None:
                student.close()
            if self.strict:
                self.close()

    def judged(self, check: Check, student: RemoteStudent) -> CheckResult:
        student.begin(check.seconds)
        result = check.run(student, self.seed)
        if student.killed:  # by somebody else, perhaps for want of memory on this machine: once more
            student.begin(check.seconds)
            result = check.run(student, self.seed)
        return result

    def expect(self, submission: Submission) -> None:
        """Have a worker with the modules that this submission names; from then on all have it."""
        needs = self.needs.of(submission.cells)
        if needs != self.needs:
            self.needs = needs
            self.close()

    def ready_worker(self) -> Worker:
        """The worker, started when there is none. Raises CourseError when it cannot hold untrusted code."""
        for attempt in range(1, self.ATTEMPTS + 1):
            if self.worker is not None:
                break
            try:
                self.worker = Worker(self.needs, self.budget, self.layers)
                layers = self.worker.layers()
            except WorkerFailure as failure:  # perhaps it was killed as it started
                self.close()
                if attempt == self.ATTEMPTS:
                    raise CourseError(f"{failure}\nTry `cs336lite doctor`.") from None
                continue
            if not self.trust and (missing := protection.missing(layers)):
                self.close()
                raise CourseError(missing)
        return self.worker

    def close(self) -> None:
        if self.worker is not None:
            self.worker.close()
            self.worker = None

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# -- by name, in a limited process --------------------------------------------------------------------------------

_open: list[Bench] = []
_begun: list[int] = []  # address space when the bench was ready


def open_bench(
    path: str, source: str, seed: str, trust: bool, strict: bool, layers: list[str], budget: dict
) -> dict[str, Any]:
    """Load the checks. What a verdict says of them: points, versions, what to read.

    Raises CourseError for checks that cannot be loaded.
    """
    spec = load_spec(path, source)
    bench = Bench(spec, seed, trust=trust, strict=strict, layers=tuple(layers), budget=Budget(**budget))
    _open.append(bench)
    for name in imports(source) & {*bench.needs.warm}:
        __import__(name)
    _begun.append(limited.address_space())
    return {
        "max_points": spec.max_points,
        "packages": versions((*bench.needs.warm, *bench.needs.named)),
        "read": reading(spec),
    }


def imports(source: str) -> set[str]:
    """The modules that a text imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def hear(
    cells: list, name: str, problem: str, begin: int, used: dict[str, Any]
) -> Generator[dict[str, Any], None, dict]:
    """Notes on the checks of one submission (see `Bench.hear`); in the end by how many bytes this process has grown."""
    submission = Submission(tuple((str(label), str(source)) for label, source in cells), name, problem)
    try:
        yield from _open[0].hear(submission, begin, used)
    except NoRoom as failure:
        raise CourseError(str(failure)) from None
    except OSError as error:  # what a bench writes lies in the temporary folder
        if error.errno not in EVERYWHERE:
            raise
        raise CourseError(no_room(error)) from None
    except WorkerFailure as failure:
        return {"failure": str(failure)}
    return {"grown": limited.address_space() - _begun[0]}
