"""A verdict, and the file in which one is kept, named by the hash of what it depends on (see `judge`)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cs336lite.course.border import plain
from cs336lite.course.paths import read_json
from cs336lite.course.spec import TOGETHER, CheckResult
from cs336lite.grading import sharing


@dataclass(frozen=True)
class Verdict:
    """The judgement of one submission. Points are in the spec's units; ``score <= max_score``. Its texts are `plain`."""

    assignment: str
    score: float
    max_score: float
    checks: tuple[CheckResult, ...]
    problem: str = ""
    notes: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    read: dict[str, list[str]] = field(default_factory=dict)  # what to read on each exercise: see `reading`

    def __post_init__(self) -> None:
        object.__setattr__(self, "assignment", plain(self.assignment))
        object.__setattr__(self, "problem", plain(self.problem))
        object.__setattr__(self, "notes", tuple(map(plain, self.notes)))

    def exercise(self, name: str) -> list[CheckResult]:
        return [c for c in self.checks if c.exercise == name]

    @property
    def first_message(self) -> str:
        """What to hear first: of a check that says why something fails, before one that says only that it does."""
        failed = sorted((c for c in self.checks if not c.passed), key=lambda c: c.title.startswith(TOGETHER))
        return self.problem or next((c.message for c in failed), "")

    def as_json(self, submission: str) -> dict[str, Any]:
        """The entry of ``grade --json``; its form is fixed (see DESIGN)."""
        keys = ("id", "points", "max_points", "passed", "message")
        checks = [{key: getattr(c, key) for key in keys} for c in self.checks]
        return {"submission": submission, "score": self.score, "max_score": self.max_score, "checks": checks}


def spec_hash(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def keep_spec(folder: Path, source: str, rights: sharing.Rights) -> None:
    """Keep a copy of the checks beside the verdicts that they gave, so that these can be replayed."""
    path = folder / "specs" / f"{spec_hash(source)}.py"
    if not path.exists():
        sharing.write(path, source, rights)


LARGEST_VERDICT = 64 << 20  # bytes: far above any that is kept


def read_verdict(path: Path) -> Verdict | None:
    """The verdict in a file; None when there is no whole one."""
    return read_kept(path)[0]


def read_kept(path: Path) -> tuple[Verdict | None, dict[str, Any]]:
    """The verdict in a file, and what else is kept there; None and nothing when there is no whole one.

    A file may say anything: each part has the type that is written there, or there is no verdict.
    """
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_VERDICT:
            return None, {}
        data = read_json(path, None)
        kept = {"submission": data.pop("submission", None)}
        checks = tuple(CheckResult(**check) for check in data["checks"])
        verdict = Verdict(**{**data, "checks": checks, "notes": tuple(data["notes"])})
    except (TypeError, KeyError, AttributeError, ValueError, OSError):
        return None, {}
    return (verdict, kept) if is_whole(data, kept["submission"]) else (None, {})


def is_whole(data: dict[str, Any], submission: Any) -> bool:
    """Whether the parts of a kept verdict and of its submission have their types."""
    texts = [data["assignment"], data.get("problem", ""), *data["notes"]]
    numbers = [data["score"], data["max_score"]]
    for check in data["checks"]:
        texts += [check[name] for name in ("id", "exercise", "title", "message")]
        texts += [check.get(name, "") for name in ("fault", "excused")]
        numbers += [check["points"], check["max_points"]]
    provenance, read = data.get("provenance", {}), data.get("read", {})
    cells = submission.get("cells") if isinstance(submission, dict) else None
    texts += [submission.get("name")] if isinstance(submission, dict) else []
    return (
        all(isinstance(text, str) for text in texts)
        and all(type(number) in (int, float) and abs(number) < 1e9 for number in numbers)
        and all(type(check["passed"]) is bool for check in data["checks"])
        and isinstance(data["checks"], list)
        and isinstance(data["notes"], list)
        and isinstance(provenance, dict)
        and isinstance(provenance.get("layers", []), list)
        and all(isinstance(layer, str) for layer in provenance.get("layers", []))
        and isinstance(provenance.get("left", []), list)
        and all(isinstance(note, str) for note in provenance.get("left", []))
        and isinstance(read, dict)
        and all(isinstance(two, list) and [type(x) for x in two] == [str, str] for two in read.values())
        and (submission is None or isinstance(cells, list))
        and all(isinstance(cell, list) and [type(x) for x in cell] == [str, str] for cell in cells or [])
    )
