"""A submission and a spec make a verdict; a verdict is a file named by the hash of what it depends on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import secrets
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cs336lite import __version__
from cs336lite.course.paths import CourseError, read_json, write_atomic
from cs336lite.course.spec import CheckResult, Spec, load_spec
from cs336lite.grading import client as client_module
from cs336lite.grading import jail, wire, worker
from cs336lite.grading.client import Worker
from cs336lite.grading.submission import Submission


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
    """

    def __init__(self, course: Path, assignment: str, keep: bool = True) -> None:
        self.course = course
        self.spec = hidden_spec(course, assignment)
        self.seed = course_seed(course)
        self.keep = keep
        self.worker: Worker | None = None
        self.code = hashlib.sha256(
            b"".join(
                [Path(m.__file__).read_bytes() for m in (client_module, jail, wire, worker)]
                + [self.spec.source.encode(), self.seed.encode()]
            )
        ).hexdigest()

    def path(self, submission: Submission) -> Path:
        """Where this submission's verdict is kept: the name is a hash of its cells, the spec and the grader."""
        key = hashlib.sha256(f"{submission.digest()}/{self.code}".encode()).hexdigest()[:32]
        return self.course / "verdicts" / self.spec.name / f"{key}.json"

    def judge(self, submission: Submission) -> Verdict:
        """The verdict on a submission: the kept one, or a new one that is then kept."""
        path = self.path(submission)
        if self.keep and (kept := read_verdict(path)) is not None:
            # notes depend on the file, not on the judged cells
            return Verdict(**{**vars(kept), "notes": submission.notes})
        verdict = self.judge_anew(submission)
        if self.keep:
            write_atomic(path, json.dumps(asdict(verdict), indent=1), mode=0o600)
        return verdict

    def judge_anew(self, submission: Submission) -> Verdict:
        started = time.time()
        if submission.problem:
            message = f"nothing could be judged: {submission.problem}"
            results = [CheckResult(c.id, c.exercise, c.title, 0.0, c.points, False, message) for c in self.spec]
            spent, layers = 0.0, ()
        else:
            if self.worker is None:
                self.worker = Worker(tuple(getattr(self.spec.module, "WARM", ())))
            results = []
            with self.worker.student(submission.cells, submission.name) as student:
                for check in self.spec:
                    student.begin(check.seconds)
                    results.append(check.run(student, self.seed))
                spent, layers = student.spent, student.layers
        provenance = {
            "cs336lite": __version__,
            "python": platform.python_version(),
            "spec": hashlib.sha256(self.spec.source.encode()).hexdigest()[:16],
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

    def close(self) -> None:
        if self.worker is not None:
            self.worker.close()
            self.worker = None

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_verdict(path: Path) -> Verdict | None:
    """The verdict in a file; None when there is no whole one."""
    data = read_json(path, None)
    try:
        checks = tuple(CheckResult(**check) for check in data["checks"])
        return Verdict(**{**data, "checks": checks, "notes": tuple(data["notes"])})
    except (TypeError, KeyError):
        return None


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
        draft = path.with_name(f"seed-{secrets.token_hex(8)}")
        write_atomic(draft, secrets.token_hex(16), mode=0o600)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # of several graders that start at once, the first one's seed holds
        draft.unlink()
    return path.read_text().strip()
