"""A small leaderboard of the models that readers have trained on the last page: a file on this machine, and nothing else.

Own runs are kept in ``.cs336lite/leaderboard.json``. A friend's file, put into the folder of the course as
``leaderboard-anna.json``, is shown beside them. What has been trained on another text is not compared.
"""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cs336lite.course.border import plain
from cs336lite.course.paths import CourseError, find_root, read_json, write_atomic

__all__ = ["Board", "Entry", "enter"]

OWN = Path(".cs336lite") / "leaderboard.json"
COLUMNS = ("bits per byte", "name", "parameters", "tokens seen", "parts")


@dataclass(frozen=True)
class Entry:
    """One trained model."""

    name: str
    bits_per_byte: float
    text: str  # the hash of what it was trained and judged on
    parameters: int = 0
    tokens: int = 0  # seen in training
    parts: str = ""

    @classmethod
    def read(cls, value: Any) -> Entry | None:
        """From a file that anybody may have written; None for what is no entry."""
        kinds = {
            "name": str,
            "bits_per_byte": (int, float),
            "text": str,
            "parameters": int,
            "tokens": int,
            "parts": str,
        }
        if (
            not isinstance(value, dict)
            or not value.keys() <= kinds.keys()
            or not {"name", "bits_per_byte", "text"} <= value.keys()
        ):
            return None
        if not all(isinstance(value[name], kinds[name]) and not isinstance(value[name], bool) for name in value):
            return None
        return cls(**value) if 0 < value["bits_per_byte"] < 100 else None

    def row(self) -> tuple[str, ...]:
        counts = (f"{number:,}" if number else "" for number in (self.parameters, self.tokens))
        return f"{self.bits_per_byte:.3f}", plain(self.name), *counts, plain(self.parts)


@dataclass(frozen=True)
class Board:
    """Entries, the best first. Shows itself as a table."""

    entries: tuple[Entry, ...]
    mine: Entry

    def _repr_html_(self) -> str:
        cell = 'style="text-align:left;padding:2px 12px 2px 0"'
        rows = ["".join(f"<th {cell}>{name}</th>" for name in COLUMNS)]
        for entry in self.entries:
            kind = "b" if entry is self.mine else "span"
            rows.append("".join(f"<td {cell}><{kind}>{html.escape(text)}</{kind}></td>" for text in entry.row()))
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"

    def __repr__(self) -> str:
        return "\n".join("  ".join(filter(None, ("→" if e is self.mine else " ", *e.row()))) for e in self.entries)


def enter(entry: Entry, beside: Iterable[Entry] = (), root: Path | None = None) -> Board:
    """Put a run on the board; the board of all that were trained on the same text.

    Args:
        entry: the run. One of the same name is replaced where the new one is better.
        beside: entries to compare with that are not kept, such as tables of counts.

    Raises:
        CourseError: the name is empty.
    """
    root = root or find_root()
    if not entry.name.strip():
        raise CourseError('your model needs a name: NAME = "Ada"')
    kept = entries(root / OWN)
    others = [found for path in sorted(root.glob("leaderboard*.json")) for found in entries(path)]
    same = [old for old in kept if (old.name, old.text) == (entry.name, entry.text)]
    if "CS336LITE_BUILD" not in os.environ and all(entry.bits_per_byte < old.bits_per_byte for old in same):
        kept = [old for old in kept if old not in same] + [entry]
        try:
            write_atomic(root / OWN, json.dumps([asdict(one) for one in kept], indent=1) + "\n")
        except OSError as error:
            print(f"your run is not remembered ({error.strerror}: {root / OWN})")
    if "CS336LITE_BUILD" in os.environ:
        kept, others = [], []  # a built page shows its own run
    shown = [*{one: None for one in (*kept, *others, *beside) if one.text == entry.text and one != entry}, entry]
    return Board(tuple(sorted(shown, key=lambda one: one.bits_per_byte)), entry)


def entries(path: Path) -> list[Entry]:
    """What a file holds; nothing where there is none, or none that can be read."""
    found = read_json(path, [])
    return [entry for entry in map(Entry.read, found if isinstance(found, list) else []) if entry is not None]
