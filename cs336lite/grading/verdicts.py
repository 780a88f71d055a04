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
from cs336lite.course import answers
from cs336lite.course import spec as spec_module
from cs336lite.course.paths import CourseError, read_json, write_atomic
from cs336lite.course.spec import CheckResult, Spec, load_spec
from cs336lite.grading import client, jail, protection, surroundings, wire, worker
from cs336lite.grading.client import Needs, WorkerFailure
from cs336lite.grading.submission import Submission
from cs336lite.scratch import sweep


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
    read: dict[str, list[str]] = field(default_factory=dict)  # what to read on each exercise: see `reading`

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
    """Judges submissions of one assignment, keeping every verdict as a file.

    The judging happens in a process with limits, whatever its caller is (see `pools`): this one reads no answers.

    Args:
        course: the folder of the nbgrader course; holds ``hidden/`` and gets ``verdicts/`` and ``.secret/``.
        assignment: its name.
        keep: read and write verdict files; otherwise every submission is judged anew.
        trust: judge even where too few layers of protection hold.
        strict: a new worker for every submission.

    Raises:
        CourseError: there are no hidden checks, or too few layers hold (unless ``trust``).
    """

    LAYERS = client.Worker.LAYERS
    BUDGET = client.Budget()

    def __init__(
        self, course: Path, assignment: str, keep: bool = True, *, trust: bool = False, strict: bool = False
    ) -> None:
        path, source = hidden_source(course, assignment)
        self.open(path, source, course_seed(course), trust=trust, strict=strict)
        self.course, self.keep = course, keep

    @classmethod
    def of(cls, assignment: str, source: str, seed: str, *, trust: bool = False, strict: bool = False) -> Judge:
        """A judge by given checks (their text) and a given seed, which keeps no verdicts."""
        self = cls.__new__(cls)
        self.open(Path("hidden") / f"{assignment}.py", source, seed, trust=trust, strict=strict)
        self.course, self.keep = Path(), False
        return self

    def open(self, path: Path, source: str, seed: str, *, trust: bool, strict: bool) -> None:
        sweep()
        self.source_path, self.source, self.seed = path, source, seed
        self.name = path.stem
        self.trust, self.strict = trust, strict
        self.layers, self.budget = self.LAYERS, self.BUDGET
        self.code = hashlib.sha256(f"{grader_version()}/{source}/{seed}".encode()).hexdigest()
        self.pool: Any = None

    @functools.cached_property
    def spec(self) -> Spec:
        """The checks, loaded into this process."""
        return load_spec(self.source_path, self.source)

    def path(self, submission: Submission) -> Path:
        """Where this submission's verdict is kept: the name is a hash of its cells, the spec and the grader."""
        key = hashlib.sha256(f"{submission.digest()}/{self.code}".encode()).hexdigest()[:32]
        return self.course / "verdicts" / self.name / f"{key}.json"

    def judge(self, submission: Submission) -> Verdict:
        """The verdict on a submission: the kept one, or a new one that is then kept.

        Raises WorkerFailure when the process that judges was lost several times.
        """
        return self.kept(submission) or self.judge_anew(submission)

    def judge_anew(self, submission: Submission) -> Verdict:
        from cs336lite.grading.pools import Item, Processes

        if self.pool is None:
            self.pool = Processes(self, 1)
        try:
            ((_, verdict),) = [*self.pool.take(Item("", submission)), *self.pool.finish()]
        except BaseException:
            self.close()
            raise
        if isinstance(verdict, WorkerFailure):
            raise verdict
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
            keep_spec(path.parent, self.source)
            kept = {**asdict(verdict), "submission": {"cells": submission.cells, "name": submission.name}}
            write_atomic(path, json.dumps(kept, indent=1), mode=0o600)

    def may_use(self, kept: Verdict) -> bool:
        """Whether a kept verdict was reached under no less protection than is asked for now."""
        layers = kept.provenance.get("layers", ())
        return bool(kept.problem) or self.trust or not protection.missing(layers)

    def close(self) -> None:
        if self.pool is not None:
            self.pool.close()
            self.pool = None

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def verdict_of(
    judge: Judge,
    submission: Submission,
    results: list[CheckResult],
    card: dict[str, Any],
    used: dict[str, Any],
    wall: float,
) -> Verdict:
    """The verdict that results make; ``card`` is what the bench said of its checks, ``used`` what it said last."""
    provenance = {
        "cs336lite": __version__,
        "python": platform.python_version(),
        "packages": card["packages"],
        "spec": spec_hash(judge.source),
        "seed": judge.seed,
        "layers": ["rlimits", *used.get("layers", ())],
        "judged": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - wall)),
        "wall_seconds": round(wall, 3),
        "cpu_seconds": round(used.get("spent", 0.0), 3),
    }
    score = sum(r.points for r in results)
    problem, notes = submission.problem, submission.notes
    return Verdict(judge.name, score, card["max_points"], tuple(results), problem, notes, provenance, card["read"])


def needs_of(spec: Spec) -> Needs:
    """What a spec asks of the worker, by its ``WARM`` modules and ``REFUSED`` library functions.

    torch is warmed unless the spec says otherwise: its CUDA build takes 3 GiB of address space and a temporary file to
    import, which a submission does not have.
    """
    return Needs(tuple(getattr(spec.module, "WARM", ("torch",))), tuple(getattr(spec.module, "REFUSED", ())))


@functools.cache
def grader_version() -> str:
    """A hash of what a verdict depends on beside submission, spec and seed: this grader, and the lectures' modules."""
    modules = (answers, client, jail, spec_module, surroundings, wire, worker)
    files = [Path(m.__file__) for m in modules] + [Path(__file__).with_name("bench.py")]
    files += surroundings.lecture_modules()
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def spec_hash(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def reading(spec: Spec) -> dict[str, list[str]]:
    """What to read on each exercise: ``[text, link]``, the link possibly empty, from the spec module's ``READ``.

    ``READ`` maps an exercise to a text or to ``(text, link)``. A link is an ``https://`` address or a file, as seen from
    the folder of the course: pages travel, so the page names such a file and does not link it.
    """
    found = {}
    for exercise, entry in getattr(spec.module, "READ", {}).items():
        text, link = (entry, "") if isinstance(entry, str) else entry
        found[exercise] = [str(text), str(link)]
    return found


def versions(modules: tuple[str, ...]) -> dict[str, str]:
    """The installed versions of modules, by name; a module without a version of its own is left out."""
    found = {}
    for name in modules:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def keep_spec(folder: Path, source: str) -> None:
    """Keep a copy of the checks beside the verdicts that they gave, so that these can be replayed."""
    path = folder / "specs" / f"{spec_hash(source)}.py"
    if not path.exists():
        write_atomic(path, source, mode=0o600)


def read_verdict(path: Path) -> Verdict | None:
    """The verdict in a file; None when there is no whole one."""
    data = read_json(path, None)
    try:
        checks = tuple(CheckResult(**check) for check in data["checks"])
        data.pop("submission", None)
        return Verdict(**{**data, "checks": checks, "notes": tuple(data["notes"])})
    except (TypeError, KeyError):
        return None


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
    with Judge.of(kept.assignment, spec.read_text(encoding="utf-8"), kept.provenance["seed"], trust=trust) as judge:
        return kept, judge.judge(submission)


def hidden_source(course: Path, assignment: str) -> tuple[Path, str]:
    """The file of an assignment's hidden checks, and its text. Raises CourseError when this copy of the course has none."""
    path = course / "hidden" / f"{assignment}.py"
    try:
        return path, path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CourseError(
            f"no hidden checks for {assignment!r}: {path} does not exist. Grading needs the full repository; "
            "in a student edition use `cs336lite check`."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CourseError(f"the hidden checks in {path} cannot be read: {error}") from None


def course_seed(course: Path) -> str:
    """The secret from which hidden inputs are drawn: made once per course, readable by its owner alone."""
    path = course / ".secret" / "seed"
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomic(path, secrets.token_hex(16), mode=0o600, replace=False)  # several graders may start at once
    return path.read_text().strip()
