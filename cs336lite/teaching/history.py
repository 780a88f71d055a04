"""What each student had after each run: a file beside the verdicts, with a line for every change.

``verdicts/<assignment>/history.jsonl`` maps students to their verdicts, in the order in which they were reached. From it
comes whose grade changed since the last run, and why.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cs336lite.course.border import plain
from cs336lite.course.paths import CourseError
from cs336lite.grading import sharing
from cs336lite.grading.verdicts import Verdict, read_verdict
from cs336lite.teaching.classbook import Row, number

LARGEST = 256 << 20  # bytes of a history: far above any


@dataclass(frozen=True)
class Moment:
    """What a student had after a run, by the rules of then. ``submission`` and ``seed`` are hashes; ``failed`` are checks and their points."""

    student: str
    when: str
    submission: str = ""
    verdict: str = ""  # the name of its file
    spec: str = ""
    seed: str = ""
    timestamp: str = ""
    problem: str = ""
    failed: dict[str, float] = field(default_factory=dict)
    rules: dict[str, str] = field(default_factory=dict)  # checks that do not count as they were judged
    auto: float = 0.0
    by_hand: float = 0.0
    penalty: float = 0.0
    total: float = 0.0
    max_score: float = 0.0

    def same(self, other: Moment) -> bool:
        return asdict(self) | {"when": ""} == asdict(other) | {"when": ""}


@dataclass(frozen=True)
class Change:
    """A grade that is another one than after the run before, and why."""

    student: str
    old: float
    new: float
    reasons: tuple[str, ...]


def path_of(course: Path, assignment: str) -> Path:
    return course / "verdicts" / assignment / "history.jsonl"


def moment(row: Row, verdict: Verdict, submission: str, file: str) -> Moment:
    """What a student has now."""
    seed = str(verdict.provenance.get("seed", ""))
    return Moment(
        row.student,
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        submission,
        file,
        str(verdict.provenance.get("spec", "")),
        hashlib.sha256(seed.encode()).hexdigest()[:12],
        row.timestamp,
        verdict.problem,
        {c.id: c.points for c in verdict.checks if not c.passed},
        rules if isinstance(rules := verdict.provenance.get("exceptions", {}), dict) else {},
        *(round(x, 6) for x in (row.auto, row.by_hand, row.penalty, row.total, row.max_score)),
    )


def read(course: Path, assignment: str) -> dict[str, list[Moment]]:
    """The moments of every student, the first one first; what is no line of a history is passed over."""
    path, found = path_of(course, assignment), {}
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
            return {}
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise CourseError(f"{path} cannot be read: {error.strerror}") from None
    for line in text.splitlines():
        if (one := parse(line)) is not None:
            found.setdefault(one.student, []).append(one)
    return found


def parse(line: str) -> Moment | None:
    try:
        data = json.loads(line)
        one = Moment(**data)
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (one.student, one.when, one.submission, one.verdict, one.spec, one.seed, one.timestamp, one.problem)
    numbers = (one.auto, one.by_hand, one.penalty, one.total, one.max_score)
    fits = all(isinstance(t, str) for t in texts) and all(type(n) in (int, float) for n in numbers)
    fits = (
        fits
        and isinstance(one.rules, dict)
        and isinstance(one.failed, dict)
        and all(type(n) in (int, float) for n in one.failed.values())
    )
    return one if fits else None


def note(course: Path, assignment: str, moments: Iterable[Moment]) -> list[Change]:
    """Add what is new to the history; what changed since each student's last moment.

    Raises CourseError when the history cannot be read or written; nothing is then half written.
    """
    before = read(course, assignment)
    new, changes = [], []
    for now in moments:
        last = before.get(now.student, [None])[-1]
        if last is not None and last.same(now):
            continue
        new.append(now)
        if last is not None and abs(last.total - now.total) > 1e-6:
            changes.append(Change(now.student, last.total, now.total, why(last, now)))
    if new:
        path = path_of(course, assignment)
        kept = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        kept += "" if not kept or kept.endswith("\n") else "\n"
        lines = "".join(json.dumps(asdict(one), ensure_ascii=True) + "\n" for one in new)
        sharing.write(path, kept + lines, sharing.rights_of(course))
    return changes


def why(old: Moment, new: Moment) -> tuple[str, ...]:
    """Why a grade is another one: all that is different between two moments, the likeliest cause first."""
    found = []
    if old.submission != new.submission:
        found.append("new submission")
    elif old.rules != new.rules:
        ids = [i for i in dict.fromkeys([*old.rules, *new.rules]) if old.rules.get(i) != new.rules.get(i)]
        found.append(f"excused: {', '.join(plain(i, 80) for i in ids[:3])}")
    elif old.failed != new.failed or old.problem != new.problem:
        if old.spec != new.spec:
            found.append(f"changed checks: {named(old, new)}")
        elif old.seed != new.seed:
            found.append(f"new seed: {named(old, new)}")
        else:
            found.append(f"judged anew: {named(old, new)}")
    elif old.auto != new.auto:
        found.append("points of checks changed")
    if old.penalty != new.penalty:
        found.append(f"late penalty {number(old.penalty)} → {number(new.penalty)}")
    if old.by_hand != new.by_hand:
        found.append("graded by hand")
    return tuple(found) or ("the gradebook was changed",)


def named(old: Moment, new: Moment, most: int = 2) -> str:
    """The checks that turned out otherwise."""
    ids = [i for i in dict.fromkeys([*old.failed, *new.failed]) if old.failed.get(i) != new.failed.get(i)]
    rest = f" and {len(ids) - most} more" if len(ids) > most else ""
    return (", ".join(plain(i, 80) for i in ids[:most]) + rest) or "whether the file can be read"


def verdict_of(course: Path, assignment: str, one: Moment) -> Verdict | None:
    """The kept verdict of a moment, when it is there still."""
    name = Path(one.verdict).name
    return read_verdict(path_of(course, assignment).with_name(name)) if name.endswith(".json") else None


def latest(course: Path, assignment: str) -> dict[str, Moment]:
    return {student: moments[-1] for student, moments in read(course, assignment).items()}
