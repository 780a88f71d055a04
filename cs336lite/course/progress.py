"""What a student has checked and which hints were read: one small file in ``.cs336lite/``, safe to delete."""

from __future__ import annotations

import json
from pathlib import Path

from cs336lite.course.paths import read_json, write_atomic
from cs336lite.course.spec import CheckResult


def load(root: Path) -> dict:
    """``{"checks": {assignment: {exercise: [passed, total]}}, "hints": {assignment: {exercise: layers read}}}``."""
    data = read_json(root / ".cs336lite" / "progress.json", {})
    return {"checks": data.get("checks", {}), "hints": data.get("hints", {})}


def save(root: Path, data: dict) -> None:
    write_atomic(root / ".cs336lite" / "progress.json", json.dumps(data, indent=1))


def record_checks(root: Path, assignment: str, results: list[CheckResult]) -> None:
    data = load(root)
    counts: dict[str, list[int]] = {}
    for result in results:
        count = counts.setdefault(result.exercise, [0, 0])
        count[0] += result.passed
        count[1] += 1
    data["checks"].setdefault(assignment, {}).update(counts)
    save(root, data)
