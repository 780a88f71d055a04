"""Run the file of a solution, as far as it can be run: what it defines, and which of its lines stopped.

Of a notebook the exported cells are run, of a plain file its statements, one after another: a demonstration that fails
takes nothing with it of what was defined before or is defined after.
"""

from __future__ import annotations
import __future__

import ast
import itertools
import linecache
import sys
import types
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs336lite.course.border import plain
from cs336lite.course.given import parts_of_script
from cs336lite.course.module import bare
from cs336lite.course.paths import CourseError
from cs336lite.course.student import place
from cs336lite.course.timing import Stopped, time_limit

CELL, FILE = "<cell {}>", "<file {}>"
SECONDS = 60  # for one statement
FLAGS = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names if name != "nested_scopes")
MOST_NOTES = 3
AS_GIVEN = ": this cell is as it was given, so something lacks on this machine, or above it"


@dataclass(frozen=True)
class Ran:
    """The names that a solution defines, and what to say of lines that stopped."""

    names: dict[str, Any]
    notes: tuple[str, ...] = ()


def run_file(path: Path, assignment: str | None = None, given: Collection[str] = ()) -> Ran:
    """Run a notebook's exported cells, or a plain Python file. Raises CourseError for what cannot be read.

    What stops in a cell that the course has ``given`` (see `beforehand.given_in`) is told as no fault of the code.
    """
    if not path.is_file():
        raise CourseError(f"no such file: {plain(path)}")
    try:
        pieces = list(cells_of(path, assignment) if path.suffix.lower() == ".ipynb" else script_of(path))
    except CourseError:
        raise
    except SyntaxError as error:
        raise CourseError(
            f"{plain(path.name)} cannot be run: SyntaxError: {plain(error.msg)} (line {error.lineno})"
        ) from None
    except Exception as error:  # a file may hold anything
        raise CourseError(f"{plain(path)} cannot be read: {type(error).__name__}: {plain(error)}") from error
    module = types.ModuleType(f"solution_{next(_numbers)}")
    module.__file__ = str(path)
    module.get_ipython = Quiet  # type: ignore[attr-defined]  # the commands of a notebook do nothing here
    sys.modules[module.__name__] = module  # dataclasses and pickle look their module up
    notes, flags = [], 0
    for filename, source in pieces:
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        whole, rows = bare(source) in given, rows_as_given(source, given) if filename.startswith(FILE[:6]) else set()
        try:
            tree = ast.parse(source, filename)
            for statement in tree.body:
                code = compile(ast.Module([statement], []), filename, "exec", flags, dont_inherit=True)
                flags |= code.co_flags & FLAGS
                if note := run_one(code, vars(module), filename):
                    notes.append(note + (AS_GIVEN if whole or statement.lineno in rows else ""))
        except (SyntaxError, ValueError) as error:
            notes.append(f"{place(filename, getattr(error, 'lineno', 1) or 1)}: {said(error)}")
    more = [f"{len(notes) - MOST_NOTES} more lines stopped"] if len(notes) > MOST_NOTES else []
    return Ran(vars(module), (*notes[:MOST_NOTES], *more))


_numbers = itertools.count()


def run_one(code: types.CodeType, names: dict[str, Any], filename: str) -> str:
    """Run one statement; what to say when it stopped."""
    try:
        with time_limit(SECONDS):
            exec(code, names)
    except (Exception, SystemExit, Stopped) as error:
        line, trace = code.co_firstlineno, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == filename:
                line = trace.tb_lineno
            trace = trace.tb_next
        return f"{place(filename, line)} stopped with {said(error)}"
    return ""


def said(error: BaseException) -> str:
    """An exception's type and text, on one line."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    name = "TimeLimit" if isinstance(error, Stopped) else type(error).__name__
    return plain(f"{name}: {text}" if text.strip() else name, 200)


class Quiet:
    """In place of IPython's shell."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def script_of(path: Path) -> Iterator[tuple[str, str]]:
    source = path.read_text(encoding="utf-8-sig")
    try:
        ast.parse(source)
    except SyntaxError:
        source = without_commands(source)
        ast.parse(source)
    yield FILE.format(plain(path.name, 60)), source


def rows_as_given(source: str, given: Collection[str]) -> set[int]:
    """The lines of a plain file, from 1, on which it holds what the course has ``given``."""
    parts = [part for is_given, part in parts_of_script(source, given) if is_given]
    return {number for part in parts for number, row in enumerate(part.split("\n"), 1) if row}


def cells_of(path: Path, assignment: str | None) -> Iterator[tuple[str, str]]:
    """The name and the source of each exported cell, and of the helpers that these need. Raises CourseError as `export_notebook` does."""
    from cs336lite.course.export import export_notebook, helpers, read_notebook, split_directive
    from cs336lite.course.module import Piece

    cells = [cell for cell in enumerate(read_notebook(path).cells, 1) if cell[1].cell_type == "code"]
    split = [(number, cell, *split_directive(cell.source)) for number, cell in cells]
    plain_python = all(without_commands(source) == source for _, _, exported, _, source in split if exported)
    if plain_python or not any(exported for _, _, exported, _, _ in split):
        export_notebook(path, assignment)  # what it refuses, and why
    futures = [source for _, _, exported, _, source in split if not exported and "__future__" in source]
    for source in futures:  # they hold for all later cells
        lines = [line for line in without_commands(source).splitlines() if line.startswith("from __future__ import ")]
        yield CELL.format("future"), "\n".join(lines)
    pieces: dict[bool, list[Piece]] = {True: [], False: []}
    for number, cell, exported, _, _ in split:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        place = CELL.format(f"`{plain(name, 60)}`" if name else number)
        source = without_commands(cell.source)
        pieces[exported].append(Piece(source, source, lambda line=None, place=place: place))
    found: dict[str, str] = {}
    for helper in helpers(pieces[True], pieces[False]):
        found[helper.where()] = overlaid(found.get(helper.where(), ""), helper.source)
    yield from [(piece.where(), piece.source) for piece in pieces[True][:1]]
    yield from found.items()
    yield from [(piece.where(), piece.source) for piece in pieces[True][1:]]


def overlaid(first: str, second: str) -> str:
    """Two parts of one cell, each on the lines on which it stands there."""
    lines = itertools.zip_longest(first.split("\n"), second.split("\n"), fillvalue="")
    return "\n".join(a or b for a, b in lines)


def without_commands(source: str) -> str:
    """A cell with its notebook commands as the calls that IPython makes of them; plain Python stays as it is."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        from IPython.core.inputtransformer2 import TransformerManager

        return TransformerManager().transform_cell(source)
    return source
