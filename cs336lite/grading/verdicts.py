"""A submission and a spec make a verdict; a verdict is a file named by the hash of what it depends on."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import platform
import secrets
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cs336lite import __version__
from cs336lite.course import spec as spec_module
from cs336lite.course.paths import CourseError, read_json, write_atomic
from cs336lite.course.spec import CheckResult, Spec, load_spec
from cs336lite.grading import client, jail, protection, refusal, surroundings, wire, worker
from cs336lite.grading.client import Needs, Worker, WorkerFailure
from cs336lite.grading.submission import Submission
from cs336lite.scratch import Scratch, sweep


@dataclass(frozen=True)
class Verdict:
    """The judgement of one submission. Points are in the spec's units; ``score <= max_score``."""

    assignment: str
    score: float
    max_score: float
    checks: tuple[CheckResult, ...]
    problem: str = ""
    notes: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    def exercise(self, name: str) -> list[CheckResult]:
        return [c for c in self.checks if c.exercise == name]

    @property
    def first_message(self) -> str:
        return self.problem or next((c.message for c in self.checks if not c.passed), "")

    def as_json(self, submission: str) -> dict[str, Any]:
        """The entry of ``grade --json``; its form is fixed (see DESIGN)."""
        keys = ("id", "points", "max_points", "passed", "message")
        checks = [{key: getattr(c, key) for key in keys} for c in self.checks]
        return {"submission": submission, "score": self.score, "max_score": self.max_score, "checks": checks}


class Judge:
    """Judges submissions of one assignment, with one worker, keeping every verdict as a file.

    Args:
        course: the folder of the nbgrader course; holds ``hidden/`` and gets ``verdicts/`` and ``.secret/``.
        assignment: its name.
        keep: read and write verdict files; otherwise every submission is judged anew.
        trust: judge even where too few layers of protection hold.
        strict: a new worker for every submission.

    Raises:
        CourseError: there are no hidden checks, or too few layers hold (unless ``trust``).
        WorkerFailure: the worker was lost `ATTEMPTS` times over one submission.
    """

    ATTEMPTS = 3

    def __init__(
        self, course: Path, assignment: str, keep: bool = True, *, trust: bool = False, strict: bool = False
    ) -> None:
        sweep()
        self.course = course
        self.spec = hidden_spec(course, assignment)
        self.seed = course_seed(course)
        self.keep = keep
        self.trust = trust
        self.strict = strict
        self.needs = needs_of(self.spec)
        self.worker: Worker | None = None
        self.code = hashlib.sha256(f"{grader_version()}/{self.spec.source}/{self.seed}".encode()).hexdigest()

    def path(self, submission: Submission) -> Path:
        """Where this submission's verdict is kept: the name is a hash of its cells, the spec and the grader."""
        key = hashlib.sha256(f"{submission.digest()}/{self.code}".encode()).hexdigest()[:32]
        return self.course / "verdicts" / self.spec.name / f"{key}.json"

    def judge(self, submission: Submission) -> Verdict:
        """The verdict on a submission: the kept one, or a new one that is then kept."""
        verdict = self.kept(submission)
        if verdict is None:
            verdict = self.judge_anew(submission)
            self.keep_verdict(submission, verdict)
        return verdict

    def kept(self, submission: Submission) -> Verdict | None:
        """The verdict that is kept on a submission, when there is one that may be used."""
        verdict = read_verdict(self.path(submission)) if self.keep else None
        if verdict is None or not self.may_use(verdict):
            return None
        return replace(verdict, notes=submission.notes)  # notes depend on the file, not on the judged cells

    def keep_verdict(self, submission: Submission, verdict: Verdict) -> None:
        if self.keep:
            path = self.path(submission)
            keep_spec(path.parent, self.spec)
            kept = {**asdict(verdict), "submission": {"cells": submission.cells, "name": submission.name}}
            write_atomic(path, json.dumps(kept, indent=1), mode=0o600)

    def may_use(self, kept: Verdict) -> bool:
        """Whether a kept verdict was reached under no less protection than is asked for now."""
        layers = kept.provenance.get("layers", ())
        return bool(kept.problem) or self.trust or not protection.missing(layers)

    def judge_anew(self, submission: Submission) -> Verdict:
        for attempt in range(1, self.ATTEMPTS + 1):
            try:
                return self.judge_once(submission)
            except WorkerFailure:  # killed, or out of memory: no fault of the submission's
                self.close()
                if attempt == self.ATTEMPTS:
                    raise
            finally:
                if self.strict:
                    self.close()
        raise AssertionError("unreachable")

    def judge_once(self, submission: Submission) -> Verdict:
        started = time.time()
        results, spent, layers = [], 0.0, ()
        if submission.problem:
            message = f"nothing could be judged: {submission.problem}"
            results = [CheckResult(c.id, c.exercise, c.title, 0.0, c.points, False, message) for c in self.spec]
        else:
            with self.ready_worker().student(submission.cells, submission.name) as student:
                for check in self.spec:
                    student.begin(check.seconds)
                    result = check.run(student, self.seed)
                    if student.killed:  # by somebody else, perhaps for want of memory on this machine: once more
                        student.begin(check.seconds)
                        result = check.run(student, self.seed)
                    results.append(result)
                spent, layers = student.spent, student.layers
        provenance = {
            "cs336lite": __version__,
            "python": platform.python_version(),
            "packages": versions(self.needs.warm),
            "spec": spec_hash(self.spec),
            "seed": self.seed,
            "layers": ["rlimits", *layers],
            "judged": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "wall_seconds": round(time.time() - started, 3),
            "cpu_seconds": round(spent, 3),
        }
        score = sum(r.points for r in results)
        return Verdict(
            self.spec.name,
            score,
            self.spec.max_points,
            tuple(results),
            submission.problem,
            submission.notes,
            provenance,
        )

    def ready_worker(self) -> Worker:
        """The worker, started when there is none. Raises CourseError when it cannot hold untrusted code."""
        for attempt in range(1, self.ATTEMPTS + 1):
            if self.worker is not None:
                break
            try:
                self.worker = Worker(self.needs)
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

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def needs_of(spec: Spec) -> Needs:
    """What a spec asks of the worker, by its ``WARM`` modules and ``REFUSED`` library functions; and what it may have.

    torch is warmed unless the spec says otherwise: its CUDA build takes 3 GiB of address space and a temporary file to
    import, which a submission does not have.
    """
    warm, refused = getattr(spec.module, "WARM", ("torch",)), getattr(spec.module, "REFUSED", ())
    return Needs(tuple(warm), tuple(refused), surroundings.LECTURE_MODULES.get(spec.name, ()))


@functools.cache
def grader_version() -> str:
    """A hash of what a verdict depends on beside submission, spec and seed: this grader, and the modules it hands out."""
    modules = (client, jail, refusal, spec_module, surroundings, wire, worker)
    lectures = sorted({name for names in surroundings.LECTURE_MODULES.values() for name in names})
    files = [Path(m.__file__) for m in modules] + surroundings.lecture_modules(lectures)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def spec_hash(spec: Spec) -> str:
    return hashlib.sha256(spec.source.encode()).hexdigest()[:16]


def versions(modules: tuple[str, ...]) -> dict[str, str]:
    """The installed versions of modules, by name; a module without a version of its own is left out."""
    found = {}
    for name in modules:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def keep_spec(folder: Path, spec: Spec) -> None:
    """Keep a copy of the checks beside the verdicts that they gave, so that these can be replayed."""
    path = folder / "specs" / f"{spec_hash(spec)}.py"
    if not path.exists():
        write_atomic(path, spec.source, mode=0o600)


def read_verdict(path: Path) -> Verdict | None:
    """The verdict in a file; None when there is no whole one."""
    data = read_json(path, None)
    try:
        checks = tuple(CheckResult(**check) for check in data["checks"])
        data.pop("submission", None)
        return Verdict(**{**data, "checks": checks, "notes": tuple(data["notes"])})
    except (TypeError, KeyError):
        return None


def judge_of(assignment: str, spec: str, seed: str, *, trust: bool = False, strict: bool = False) -> Judge:
    """A judge by given checks (their source) and a given seed, which keeps no verdicts."""
    with Scratch("course") as folder:
        write_atomic(folder / "hidden" / f"{assignment}.py", spec, mode=0o600)
        write_atomic(folder / ".secret" / "seed", seed, mode=0o600)
        return Judge(folder, assignment, keep=False, trust=trust, strict=strict)


def replay(path: Path, *, trust: bool = False) -> tuple[Verdict, Verdict]:
    """A kept verdict, and the one that its submission, its checks and its seed give today.

    Raises:
        CourseError: the file is no verdict, or lacks what is needed to judge again.
    """
    kept, data = read_verdict(path), read_json(path, None)
    if kept is None:
        raise CourseError(f"{path} is no verdict: they are kept in assignments/verdicts/<assignment>/")
    if kept.problem:
        return kept, kept  # the file could not be read: no code was ever run
    spec = path.parent / "specs" / f"{kept.provenance.get('spec')}.py"
    if not spec.exists():
        raise CourseError(f"{spec} is missing: it holds the checks that gave the verdict")
    cells = tuple((str(label), str(source)) for label, source in data["submission"]["cells"])
    submission = Submission(cells, data["submission"]["name"], notes=kept.notes)
    with judge_of(kept.assignment, spec.read_text(encoding="utf-8"), kept.provenance["seed"], trust=trust) as judge:
        return kept, judge.judge(submission)


def hidden_spec(course: Path, assignment: str) -> Spec:
    """The hidden checks of an assignment. Raises CourseError when this copy of the course has none."""
    path = course / "hidden" / f"{assignment}.py"
    if not path.exists():
        raise CourseError(
            f"no hidden checks for {assignment!r}: {path} does not exist. Grading needs the full repository; "
            "in a student edition use `cs336lite check`."
        )
    return load_spec(path)


def course_seed(course: Path) -> str:
    """The secret from which hidden inputs are drawn: made once per course, readable by its owner alone."""
    path = course / ".secret" / "seed"
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomic(path, secrets.token_hex(16), mode=0o600, replace=False)  # several graders may start at once
    return path.read_text().strip()
