"""What a student has checked and which hints were read: one small file in ``.cs336lite/``, safe to delete."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cs336lite.course.paths import read_json, write_atomic
from cs336lite.course.spec import CheckResult


def load(root: Path) -> dict:
    """What is remembered, by assignment or lecture and exercise, and the lectures that have run to their last cell.

    ``{"checks": {name: {exercise: [passed, total]}}, "hints": {name: {exercise: layers read}}, "read": [lecture]}``.

    A file of another form is set aside, with a word, and nothing counts as done.
    """
    path = root / ".cs336lite" / "progress.json"
    data = read_json(path, None)
    if data is None and not path.is_symlink() and not path.exists():
        return {"checks": {}, "hints": {}, "read": []}
    if isinstance(data, dict):
        found = {"checks": data.get("checks", {}), "hints": data.get("hints", {}), "read": data.get("read", [])}
        if is_table(found["checks"], is_count) and is_table(found["hints"], is_number) and is_names(found["read"]):
            return found
    set_aside(path)
    return {"checks": {}, "hints": {}, "read": []}


def is_table(value: Any, is_entry: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(
        isinstance(row, dict) and all(map(is_entry, row.values())) for row in value.values()
    )


def is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def is_count(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value))


def is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10**6


def set_aside(path: Path) -> None:
    """Keep a file that cannot be used under another name, where it can be moved."""
    names = (path.with_name(f"{path.stem}-damaged{end}{path.suffix}") for end in ("", *range(2, 1000)))
    kept = next((name for name in names if not name.exists()), None)
    try:
        os.rename(path, kept)
    except (OSError, TypeError):
        return
    print(f"{path.name} could not be used; it is kept as {kept.name}, and counting begins anew", file=sys.stderr)


def save(root: Path, data: dict) -> None:
    """Write what was done; where nothing can be written it is not remembered, and that is all."""
    try:
        write_atomic(root / ".cs336lite" / "progress.json", json.dumps(data, indent=1))
    except OSError as error:
        print(f"your progress is not remembered: {error.strerror} ({root / '.cs336lite'})", file=sys.stderr)


def record_checks(root: Path, assignment: str, results: list[CheckResult]) -> None:
    data = load(root)
    counts: dict[str, list[int]] = {}
    for result in results:
        count = counts.setdefault(result.exercise, [0, 0])
        count[0] += result.passed
        count[1] += 1
    data["checks"].setdefault(assignment, {}).update(counts)
    save(root, data)


def record_read(root: Path, lecture: str) -> None:
    data = load(root)
    if lecture not in data["read"]:
        save(root, data | {"read": [*data["read"], lecture]})
