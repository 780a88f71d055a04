"""The source of one cell: its solution regions, and how it is shown. Export, release and the search for leaks share this."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

BEGIN = "### BEGIN SOLUTION"
END = "### END SOLUTION"
UNSOLVED = "this exercise is not solved yet"
CODE_STUB = f'# YOUR CODE HERE\nraise NotImplementedError("{UNSOLVED}")'
"""What nbgrader puts in place of a solution region; the whole text is known to `missing` and to `check`."""


def solved(source: str) -> str:
    """The source of a cell with its answers, without the markers."""
    return "\n".join(line for line in source.split("\n") if line.strip() not in (BEGIN, END))


def skeleton(source: str) -> str:
    """The source of a cell as nbgrader releases it: each solution region becomes `CODE_STUB`."""
    kept: list[str] = []
    inside = False
    for line in source.split("\n"):
        if line.strip() == BEGIN:
            indent = line[: len(line) - len(line.lstrip())]
            kept += [indent + stub for stub in CODE_STUB.split("\n")]
            inside = True
        elif line.strip() == END:
            inside = False
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def solution_lines(source: str) -> Iterator[tuple[int, str]]:
    """(line number from 1, line) of everything between the markers of a cell or of a whole text."""
    inside = False
    for number, line in enumerate(source.split("\n"), 1):
        if line.strip() in (BEGIN, END):
            inside = line.strip() == BEGIN
        elif inside:
            yield number, line


def first_line(source: str) -> str:
    """The line by which a person recognises a cell: its first that is neither blank nor a directive."""
    lines = [line.strip() for line in source.split("\n")]
    return next((line for line in lines if line and not re.match(r"#\s*\|", line)), "(an empty cell)")[:80]


def without_echo(source: str) -> str:
    """A cell's source with a semicolon behind a docstring that it ends in, whose text Jupyter would print otherwise.

    >>> without_echo("X = 1\\n'What X is.'  # a comment")
    "X = 1\\n'What X is.';  # a comment"
    """
    last = (ast.parse(source).body or [None])[-1]
    if not (isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant) and isinstance(last.value.value, str)):
        return source
    lines = source.split("\n")
    line = lines[last.end_lineno - 1].encode()
    rest = line[last.end_col_offset :].decode()
    if rest.lstrip().startswith(";"):
        return source
    lines[last.end_lineno - 1] = f"{line[: last.end_col_offset].decode()};{rest}"
    return "\n".join(lines)
