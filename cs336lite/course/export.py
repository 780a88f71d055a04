"""Export: the cells of a notebook that begin with ``#| export`` become a plain Python module.

The same export builds the modules of lectures, the reference of an assignment, its stub in the student edition, and
the module a student's solved notebook gives. The directive is nbdev's; ``#| export other`` goes into another module.
Blank lines and comments may stand above it, and it may be written as formatters write it, ``# | export``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cs336lite.course.module import (
    BUILT_LINE,
    Piece,
    assemble,
    built_header,
    defined_names,
    future_imports,
    global_names,
    in_edition,
    is_stub,
    missing,
    shared_imports,
    stub_header,
    student_header,
    unknown_names,
)
from cs336lite.course.paths import GRADED_MODULES, CourseError
from cs336lite.course.regions import first_line, skeleton, solved
from cs336lite.course.text import Text

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = [
    "BUILT_LINE",
    "Cells",
    "cells_of",
    "defined_names",
    "export_notebook",
    "is_stub",
    "kept_beside",
    "missing",
    "modules_of",
    "read_notebook",
    "split_directive",
    "text_modules",
]

_DIRECTIVE = re.compile(r"\s*#\s*\|\s*export(?:\s+(?P<module>\w+))?\s*\Z")
_OTHER_DIRECTIVE = re.compile(r"\s*(#\||#\s*\|\s*export)")
_ABOVE = re.compile(r"\s*(#|[%!]|\Z)")
_MAGIC_LINE = re.compile(r"(?m)^([ \t]*(?:[\w., ]+=[ \t]*(?=[%!]))?)(?:[%!?].*|[\w.]+\?+[ \t\r]*)$")


# ------------------------------------------------------------------------------------------------- from cells to pieces


def split_directive(source: str) -> tuple[bool, str | None, str]:
    """(is the cell exported, into which module if it says, the source without the directive).

    >>> split_directive("#| export positions\\nx = 1")
    (True, 'positions', 'x = 1')
    """
    lines = source.split("\n")
    for i, line in enumerate(lines):
        if match := _DIRECTIVE.match(line):
            return True, match["module"], "\n".join(lines[:i] + lines[i + 1 :])
        if not _ABOVE.match(line):
            break
    return False, None, source


def _other_directive(source: str) -> str | None:
    """A line above a cell's code that looks like a directive and is none."""
    for line in source.split("\n"):
        if not _ABOVE.match(line):
            return None
        if _OTHER_DIRECTIVE.match(line):
            return line.strip()
    return None


def text_modules(text: Text, name: str, *, stub: str | None = None) -> dict[str, str]:
    """Module name to source, for every module that a text builds.

    Args:
        text: the text.
        name: how the header calls the text: its path from the repository root.
        stub: the name of the assignment, for its released skeleton instead of its solution.

    Raises:
        TextError: an exported cell is not Python, a directive is unknown, or the header names no module.
    """
    default = text.course.get("module")
    pieces: dict[str, list[Piece]] = {}
    for i, cell in enumerate(text.notebook.cells):
        if cell.cell_type != "code":
            continue
        exported, module, source = split_directive(cell.source)
        if not exported:
            if other := _other_directive(cell.source):
                raise text.error(i, f"unknown directive {other!r}: there is only `#| export`")
            continue
        module = module or default
        if not module:
            raise text.error(i, "`#| export`, but the header names no module: add `module:` there")
        source = in_edition(skeleton(source)) if stub else solved(source)
        pieces.setdefault(module, []).append(Piece(source, cell.source, _text_line(text, i)))
    header = stub_header(stub) if stub else built_header(name)
    shared = shared_imports(pieces) if len(pieces) > 1 else {}
    return {
        module: assemble(cells, header, assignment=stub, shared=shared.get(module, []))
        for module, cells in pieces.items()
    }


def _text_line(text: Text, cell: int) -> Callable[[int], str]:
    return lambda line: f"{text.path}:{text.lines[cell] + line - 1}"


def export_notebook(path: Path, assignment: str | None = None) -> dict[str, str]:
    """Module name to source for a student's notebook, solved or not, of ``assignment`` (by default the file's name).

    Functions, classes and imports that exported cells need go with them, in whatever cell they stand.

    Raises:
        CourseError: the file is no notebook, exports nothing, an exported cell is not Python, or it needs another value
            of a cell that is not exported; names the cell.
    """
    path = Path(path)
    assignment = assignment or path.stem
    return modules_of(cells_of(read_notebook(path), path, assignment), assignment)


@dataclass(frozen=True)
class Cells:
    """The code cells of a student's notebook: those of each module, helpers included, in order, and all others."""

    exported: dict[str, list[Piece]]
    others: list[Piece]


def cells_of(notebook: NotebookNode, path: Path, assignment: str) -> Cells:
    """The code cells of the notebook that was read from ``path``. Raises CourseError when none is exported."""
    default = notebook.metadata.get("cs336lite", {}).get("module") or GRADED_MODULES.get(assignment)
    exported: dict[str, list[Piece]] = {}
    others: list[Piece] = []
    for i, cell in enumerate(notebook.cells, 1):
        if cell.cell_type != "code":
            continue
        is_exported, module, source = split_directive(cell.source)
        piece = Piece(solved(source), cell.source, _cell_line(path, i, source))
        if is_exported and (module or default):
            exported.setdefault(module or default, []).append(piece)
        elif other := _other_directive(cell.source):
            raise CourseError(f"{piece.where(1)}: unknown directive `{other}`: there is only `#| export`")
        else:
            others.append(piece)
    if not exported:
        raise CourseError(f"{path} has no cell that begins with `#| export`: put back the first line of each exercise")
    # the docstring and the imports come first, as it is released
    return Cells(
        {m: [first, *helpers([first, *rest], others), *rest] for m, (first, *rest) in exported.items()}, others
    )


def modules_of(cells: Cells, assignment: str) -> dict[str, str]:
    """Module name to source. Raises CourseError as `export_notebook` does."""
    # they hold for all later cells
    futures = [line for piece in cells.others for line in future_imports(_without_commands(piece.source))]
    modules = {
        module: assemble(pieces, student_header(assignment), assignment, shared=futures)
        for module, pieces in cells.exported.items()
    }
    for module, source in modules.items():
        _check_helpers(unknown_names(source), cells.exported[module], cells.others)
    return modules


def helpers(exported: list[Piece], others: list[Piece]) -> list[Piece]:
    """The functions, classes and imports of other cells that exported ones need, and what these need in turn."""
    defined: dict[str, Piece] = {}
    for piece in others:
        source = _without_commands(piece.source)
        for node in _definitions_alone(source):
            alone = _with_decorators(source, node)
            helper = Piece(alone, alone, piece.where)
            defined |= dict.fromkeys(global_names(helper.source)[0], helper)
    found: dict[str, Piece] = {}
    while True:
        source = "\n\n".join(piece.source for piece in [*found.values(), *exported])
        try:
            needed = [name for name in unknown_names(source) if name in defined and name not in found]
        except SyntaxError:  # of an exported cell: `assemble` says where
            return []
        if not needed:
            break
        found |= {name: defined[name] for name in needed}
    return [piece for name, piece in defined.items() if name in found]


def _definitions_alone(source: str) -> list[ast.stmt]:
    """Functions, classes and imports at the top level of a cell, which need nothing to have run before."""
    try:
        nodes = ast.parse(source).body
    except (SyntaxError, ValueError):
        return []
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
    return [node for node in nodes if isinstance(node, kinds) and getattr(node, "module", "") != "__future__"]


def _with_decorators(source: str, node: ast.stmt) -> str:
    """A definition of a cell, below as many empty lines as stand above it there."""
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
    return "\n" * (first - 1) + "\n".join(source.split("\n")[first - 1 : node.end_lineno])


def _check_helpers(unknown: list[str], exported: list[Piece], others: list[Piece]) -> None:
    """CourseError when an exported cell uses a name that only a cell without the directive defines."""
    bound = [(piece, global_names(_without_commands(piece.source))[0]) for piece in others]
    for name in unknown:
        for helper, names in bound:
            if name in names:
                user = next(piece for piece in exported if name in global_names(piece.source)[1])
                raise CourseError(
                    f"{user.where()} uses `{name}`, which only {helper.where()} defines, and that cell is not exported: "
                    "make `#| export` its first line"
                )


def _without_commands(source: str) -> str:
    """A cell as it is where that is Python, else with None in the place of each notebook command."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return _MAGIC_LINE.sub(r"\1None", source)
    return source


def _cell_line(path: Path, number: int, source: str) -> Callable[[int], str]:
    place = f"{path.name}, cell {number} (`{first_line(source)}`)"
    return lambda line=None: f"{place}, line {line}" if line else place


def kept_beside(root: Path, module: str) -> Path:
    """Where the student's module waits while a reference is unlocked."""
    return root / "cs336lite" / f"{module}_student.py"


def read_notebook(path: Path) -> NotebookNode:
    """The notebook in a file, in the current format. Raises CourseError when there is none."""
    import nbformat  # here: it is slow, and every process of the grader would import it

    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise CourseError(f"there is no notebook {path}") from None
    except Exception as problem:  # nbformat raises errors of JSON, of its schema and of its own
        raise CourseError(f"{path} is no notebook ({type(problem).__name__}): restore it from the course") from None
