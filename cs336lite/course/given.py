"""What of a plain file the course has given: an exported notebook holds its cells, too."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection

from cs336lite.course.module import in_edition


def parts_of_script(source: str, given: Collection[str]) -> list[tuple[bool, str]]:
    """A plain file in parts: whether each is a cell as the course has ``given`` it (see `module.bare`), and its code on its own lines,
    below as many empty ones as stand before it in the file.

    An exporter puts marks and comments between cells. So the first place counts at which a cell stands from its first line
    of code to its last, between blank lines or comments, and in no text. Nothing is parsed: anybody may have written it.
    """
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    texts = source.split("\n")
    if len(texts) > MOST_ROWS:
        return [(False, source)]
    rows = [line.rstrip() for line in in_edition(source).split("\n")]
    free, owner = [not row or row.startswith("#") for row in rows], [False] * len(rows)
    inside = {
        source.count("\n", 0, text.start()) + row
        for text in _TEXT.finditer(source)
        for row in range(1, text[0].count("\n") + 1)
    }
    for block in sorted(filter(None, map(code_of, given)), key=len, reverse=True):
        for at in (i for i, row in enumerate(rows) if row == block[0] and i not in inside):
            end = at + len(block)
            borders = (at == 0 or free[at - 1]) and (end == len(rows) or free[end : end + 1] == [True])
            if borders and rows[at:end] == block and not any(owner[at:end]):
                owner[at:end] = [True] * len(block)
                break
    parts: list[tuple[bool, str]] = []
    at = 0
    for is_given, run in itertools.groupby(owner):
        end = at + len(list(run))
        if not all(free[at:end]):
            parts.append((is_given, "\n" * at + "\n".join([*texts[at:end], ""] if end < len(texts) else texts[at:])))
        at = end
    return parts


MOST_ROWS = 20_000
_TEXT = re.compile(
    r"""#[^\n]*|("{3}|'{3})(?:\\.|(?!\1).)*+(?:\1|\Z)|"(?:\\.|[^"\\\n])*+|'(?:\\.|[^'\\\n])*+""", re.DOTALL
)  # comments, and texts over several lines or in one


def code_of(cell: str) -> list[str]:
    """The lines of a cell from its first line of code to its last."""
    rows = cell.split("\n")
    code = [i for i, row in enumerate(rows) if row and not row.startswith("#")]
    return rows[code[0] : code[-1] + 1] if code else []
