"""Is what a kernel has run of a notebook what the notebook's file holds?

`check` judges the functions of the kernel, the export takes those of the file: an edit that is not saved, or not run, makes
them two. Code is compared as Python reads it, so layout and comments do not count.

What has neither been run nor saved can be seen from neither side: it is only in the browser.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from cs336lite.course.module import Piece, definitions
from cs336lite.course.paths import CourseError
from cs336lite.course.regions import solved

__all__ = ["Kernel", "Twice", "compare", "running"]


@dataclass(frozen=True)
class Kernel:
    """What a notebook has defined, and the cells that it has run, in that order; empty outside a notebook."""

    names: dict[str, Any] = field(default_factory=dict)
    cells: tuple[str, ...] = ()


def running() -> Kernel:
    """The notebook that runs this."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return Kernel(shell.user_ns, tuple(map(str, shell.user_ns.get("In", ())))) if shell else Kernel()


@dataclass(frozen=True)
class Twice:
    """A name that several cells define: the export takes one of them, and another was run last."""

    name: str
    exported: str
    ran: str


def compare(exported: Iterable[Piece], others: Iterable[Piece], kernel: Kernel) -> tuple[list[str], list[Twice]]:
    """(names whose code was run in a form that the file does not hold, names of which another cell's was run).

    Args:
        exported: cells of the file that go into a module; of several definitions of a name the last one goes.
        others: the other cells of the file.
        kernel: what was run. A name that it does not have, or whose code cannot be known, counts as the file's.
    """
    taken: dict[str, tuple[str, Piece]] = {}
    held: dict[str, dict[str, Piece]] = {}
    for piece in others:
        for name, code in codes(piece.source).items():
            held.setdefault(name, {})[code] = piece
    for piece in exported:
        for name, code in codes(piece.source).items():
            taken[name] = code, piece
            held.setdefault(name, {})[code] = piece
    history: dict[str, str] = {}
    for cell in kernel.cells:
        history |= codes(cell)
    unsaved, twice = [], []
    for name, (code, piece) in taken.items():
        if name not in kernel.names:
            continue
        ran = codes(cell_source(kernel.names[name])).get(name) or history.get(name, code)
        if ran == code:
            continue
        if other := held[name].get(ran):
            twice.append(Twice(name, piece.where(), other.where()))
        else:
            unsaved.append(name)
    return unsaved, twice


def codes(source: str) -> dict[str, str]:
    """Each function, class and constant of a cell by name, as a text that layout and comments do not change."""
    try:
        return {name: ast.dump(node) for name, node in definitions(solved(source)).items()}
    except (SyntaxError, ValueError, RecursionError, CourseError):
        return {}


def cell_source(thing: Any) -> str:
    """The source of the cell that defined a function or class, or nothing when it cannot be known."""
    try:
        thing = inspect.unwrap(thing) if callable(thing) else thing
    except ValueError:  # it wraps itself
        return ""
    functions = [thing, *vars(thing).values()] if isinstance(thing, type) else [thing]
    for function in functions:
        code = getattr(getattr(function, "__func__", function), "__code__", None)
        if isinstance(code, types.CodeType) and (lines := linecache.getlines(code.co_filename)):
            return "".join(lines)
    return ""
