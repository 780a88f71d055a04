"""How a submission's cells are read: Python as it is, anything else as IPython reads it, a plain file in pieces.

Loads without the package, beside the worker, and reads in the submission's own process. Magics, shell lines and help become
Python by IPython's own transformer, with the lines kept where they are. A plain file is cut where an editor marks cells
(``# %%``, ``# In[1]:``), and where it is no Python, between its statements.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import sys
import types
from dataclasses import dataclass

MARKER = re.compile(
    r"(?m)^#\s?(?:%%|In\s?\[[\d ]*\]|COMMAND -{5,})"
)  # Spyder, jupytext, VS Code; nbconvert; Databricks
TOP = re.compile(r"(?!else\b|elif\b|except\b|finally\b)[^\s)\]}#]")  # a line that may begin a statement
MOST_BLOCKS = 40  # that are tried together where a file is no Python: a statement may hold a text that looks like code


@dataclass(frozen=True)
class Piece:
    """A part of a cell that runs by itself: a statement, or what is no Python with the error that says so."""

    node: ast.stmt | None
    first: int
    last: int
    error: BaseException | None = None


def load_transformer() -> type | None:
    """IPython's reader of cells, kept to the lines that it was given; None where IPython is not installed.

    Its module is loaded without the rest of IPython, which would take longer than all else.
    """
    spec = importlib.util.find_spec("IPython")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = spec.submodule_search_locations[0]
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "IPython"}
    for name in ("IPython", "IPython.core", "IPython.utils"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [os.path.join(folder, *name.split(".")[1:])]
    try:
        module = importlib.import_module("IPython.core.inputtransformer2")
    except ImportError:
        return None
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "IPython"]:
            del sys.modules[name]
        sys.modules.update(before)

    class Transformer(module.TransformerManager):
        def do_one_token_transform(self, lines: list[str]) -> tuple[bool, list[str]]:
            changed, new = super().do_one_token_transform(lines)
            if len(new) < len(lines):  # a magic over several lines is one now
                at = next((i for i, (a, b) in enumerate(zip(lines, new)) if a != b), len(new) - 1)
                new = [*new[: at + 1], *["\n"] * (len(lines) - len(new)), *new[at + 1 :]]
            return changed, new

    return Transformer


class Reader:
    """Reads cells. ``transformer`` is what `load_transformer` gave; ``magics`` are the cell magics whose body is run."""

    def __init__(self, transformer: type | None, magics: frozenset[str]) -> None:
        self.transformer, self.magics = transformer, magics

    def pieces(self, source: str, script: bool) -> tuple[str, list[Piece]]:
        """A cell, or a whole file, as it was read, and its pieces in order."""
        if not script:
            return self.cell(source, 0)
        begins = [0, *(found.start() for found in MARKER.finditer(source) if found.start())]
        texts, pieces, line = [], [], 0
        for begin, end in zip(begins, [*begins[1:], len(source)]):
            text, found = self.cell(source[begin:end], line, script=True)
            texts.append(text)
            pieces += found
            line += len(rows(source[begin:end]))
        return "".join(texts), pieces

    def cell(self, source: str, line: int, script: bool = False) -> tuple[str, list[Piece]]:
        """The pieces of a cell that stands after so many lines of its file."""
        text = source
        try:
            return text, statements(text, line)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            problem = error
        try:
            text = self.python(source)
            return text, statements(text, line)
        except SyntaxError as error:
            text, problem = source, error
        except Exception:  # IPython's reader was not made for what strangers write
            text = source
        if script:
            return text, blocks(text, line)
        return text, [Piece(None, line + 1, line + len(rows(source)), moved(problem, line))]

    def python(self, source: str) -> str:
        """A cell with magics, shell lines and help as Python, line for line."""
        blank = re.match(r"(?:[^\S\n]*\n)*", source)[0]
        rest = source[len(blank) :]
        magic = re.match(r"[^\S\n]*%%(\S*)[^\n]*\n?", rest)
        if magic:
            if magic[1] not in self.magics:
                return ""
            capture = re.match(r"[^\S\n]*%%capture\s+([A-Za-z_]\w*)", rest)
            call = f"{capture[1]} = get_ipython()\n" if capture else "\n"
            return blank + call + self.python(rest[len(magic[0]) :])
        try:
            ast.parse(rest)
            return source
        except SyntaxError:
            if self.transformer is None:
                raise
        return blank + self.transformer().transform_cell(rest)


def statements(text: str, line: int) -> list[Piece]:
    """The statements of Python code that stands after so many lines. Raises SyntaxError and what else ast raises."""
    found = []
    for node in ast.parse(text).body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        last = node.end_lineno or first
        if line:
            ast.increment_lineno(node, line)
        found.append(Piece(node, line + first, line + last))
    return found


def blocks(text: str, line: int) -> list[Piece]:
    """The pieces of a file that is no Python as a whole: what cannot be read is left out, and the rest is kept."""
    lines = rows(text)
    begins = [i for i, row in enumerate(lines) if i == 0 or TOP.match(row)]
    ends = [*begins[1:], len(lines)]
    found, at = [], 0
    while at < len(begins):
        error: BaseException | None = None
        for to in range(at, min(at + MOST_BLOCKS, len(begins))):
            try:
                found += statements("".join(lines[begins[at] : ends[to]]), line + begins[at])
                at = to + 1
                break
            except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
                error = error or problem
        else:
            place = line + begins[at]
            found.append(Piece(None, place + 1, line + ends[at], moved(error, place)))
            at += 1
    return found


def rows(text: str) -> list[str]:
    """The lines of a text as Python counts them, each with its end."""
    return re.findall(r"[^\n]*\n|[^\n]+", text.replace("\r\n", "\n").replace("\r", "\n"))


def moved(error: BaseException, line: int) -> BaseException:
    if isinstance(error, SyntaxError) and error.lineno:
        error.lineno += line
    return error
