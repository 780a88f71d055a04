"""Where a submission's code was, and what to say of a statement that went wrong: what the child tells is checked first.

The child names a cell, a statement and lines; a message repeats them only where the submission has them, so that a number
that the code chose carries nothing away.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cs336lite.course.spec import known_kind

Cells = tuple[tuple[str, str], ...]
PLACE = struct.Struct("=3i")  # cell, statement, line; as in `cells`
MOST_LINES = 5000  # of a cell that are told apart: a place must not carry a number that the code chose
MOST_NAMES = 20  # of a line that are looked for
MOST_TROUBLES = 100  # as many as a child tells
MOST_TEXT = 10_000  # letters of a statement in which they are looked for


@dataclass(frozen=True)
class Place:
    """The statement that a child is about to run, or runs: numbers from 0, lines from 1."""

    cell: int
    statement: int
    line: int

    @property
    def key(self) -> tuple[int, int]:
        return self.cell, self.statement


NOWHERE = Place(-1, -1, 0)


def memory_for_a_place() -> int:
    """A handle of a few bytes that a child shares with us; it can write there, and change nothing else about it."""
    import fcntl

    handle = os.memfd_create("place", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.pwrite(handle, PLACE.pack(-1, -1, 0), 0)
    fcntl.fcntl(handle, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return handle


def read_place(handle: int) -> Place:
    data = os.pread(handle, PLACE.size, 0)
    return Place(*PLACE.unpack(data)) if len(data) == PLACE.size else NOWHERE


@dataclass(frozen=True)
class Trouble:
    """A statement that did not run to its end: ``what`` happened on a ``line`` of a cell, and what to do about it; its
    lines ``first`` to ``last`` were left."""

    cell: int
    first: int
    last: int
    line: int
    what: str
    advice: str = ""


def is_given(label: str) -> bool:
    """Whether a cell of this label is as the course gave it; see `submission.Submission`."""
    return label.startswith("given ")


def place_said(cells: Cells, label: Any, line: Any) -> str:
    """Where something happened, in brackets; empty when the child named no line of a cell of the student's."""
    if not isinstance(label, str) or type(line) is not int or is_given(label):
        return ""
    if not any(label == name and 1 <= line <= lines_of(source) for name, source in cells):
        return ""
    return f" (cell {label}, line {line})" if label else f" (line {line})"


def said(trouble: Trouble, cells: Cells) -> str:
    """A sentence on a statement that did not run to its end."""
    label = cells[trouble.cell][0]
    if not label:
        return f"line {trouble.line or '?'} {trouble.what}{trouble.advice}"
    return f"cell {label} {trouble.what}" + (f" on line {trouble.line}" if trouble.line else "") + trouble.advice


def lines_of(source: str) -> int:
    """The lines of a cell that a message may name; an error can also stand just after the last one."""
    return min(source.count("\n") + source.count("\r") + 2, MOST_LINES)


def read_troubles(told: Any, cells: Cells, advice: Callable[[str, Any], str]) -> dict[tuple[int, int], Trouble]:
    """What failed in the cells, as the child tells it, by cell and statement; what has another form is left out."""
    found = {}
    for error in told[:MOST_TROUBLES] if isinstance(told, list) else []:
        if not isinstance(error, dict):
            continue
        cell, statement, first, last, line = (error.get(k) for k in ("cell", "statement", "first", "last", "line"))
        if not all(type(n) is int for n in (cell, statement, first, last, line)) or not 0 <= cell < len(cells):
            continue
        most, kind = lines_of(cells[cell][1]), known_kind(error.get("kind"))
        line = line if 1 <= line <= most else first if 1 <= first <= most else 0
        why = advice(kind, error.get("detail"))
        found[cell, statement] = Trouble(cell, first, last, line, f"stopped with {kind}", why)
    return found


def because(names: set[str], troubles: list[Trouble], cells: Cells, most: int = 3) -> list[str]:
    """What to say of the troubles on whose account some of these names are missing: those of the lines that define them.

    Where these in turn only miss a name, what defines that one may have failed before: so all that came before are said.
    What was given is never among them.
    """
    troubles = [trouble for trouble in troubles if not is_given(cells[trouble.cell][0])]
    own = defining(names, troubles, cells)
    if own and all(t.what == "stopped with NameError" for t in own):
        own += [t for t in troubles if t not in own and (t.cell, t.first) < (own[0].cell, own[0].first)]
    return list(dict.fromkeys(said(trouble, cells) for trouble in own))[:most]


def given_stopped(names: set[str], troubles: list[Trouble], cells: Cells) -> bool:
    """Whether code that was given, and defines one of these names, did not run to its end."""
    return bool(defining(names, [t for t in troubles if is_given(cells[t.cell][0])], cells))


def defining(names: set[str], troubles: list[Trouble], cells: Cells) -> list[Trouble]:
    """Those of the troubles whose lines look as if they gave one of these names its value."""
    texts = [lines(cells[t.cell][1], t.first, t.last)[:MOST_TEXT] for t in troubles]
    return [t for t, text in zip(troubles, texts) if any(defines(name, text) for name in names)]


def lines(source: str, first: int, last: int) -> str:
    return "\n".join(source.replace("\r\n", "\n").replace("\r", "\n").split("\n")[max(0, first - 1) : max(0, last)])


def names_in(source: str, line: int) -> set[str]:
    """The names that stand in a line."""
    return set(re.findall(r"[^\W\d]\w*", lines(source, line, line)[:1000])[:MOST_NAMES])


def defines(name: str, text: str) -> bool:
    """Whether code looks as if it gave a name its value."""
    name = re.escape(name)
    ways = (
        rf"\b(?:def|class)[ \t]+{name}\b",
        rf"\b{name}\b[^\n=()]{{0,80}}=(?!=)",
        rf"\b(?:import|for|as)\b[^\n]{{0,200}}\b{name}\b",
        rf"^[ \t]+{name},?$",  # in brackets, behind an import
    )
    return re.search("|".join(ways), text, re.MULTILINE) is not None
