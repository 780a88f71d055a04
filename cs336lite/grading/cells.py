"""How a submission's cells are run: as Jupyter runs them, statement by statement, so that one loses no more than itself.

Loads without the package, beside the worker, and runs in the submission's own process. A cell that is no plain Python is
read by IPython's own transformer, with its lines kept where they are. A plain file is cut where an editor marks cells
(``# %%``, ``# In[1]:``), and where it is no Python, between its definitions.

A statement that fails, or that the client stops (see `Interrupt`), is left; those after it run. Only a ``raise`` that
stands by itself ends its cell: whoever writes it wants that.
"""

from __future__ import annotations
import __future__ as future

import ast
import contextlib
import importlib
import importlib.util
import linecache
import os
import re
import signal
import struct
import sys
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass

CELL = "<cell {}>"
MARKER = re.compile(
    r"(?m)^#\s?(?:%%|In\s?\[[\d ]*\]|COMMAND -{5,})"
)  # Spyder, jupytext, VS Code; nbconvert; Databricks
TOP = re.compile(r"(?!else\b|elif\b|except\b|finally\b)[^\s)\]}#]")  # a line that may begin a statement
MOST_BLOCKS = 40  # that are tried together where a file is no Python: a statement may hold a text that looks like code
MOST_ERRORS = 100  # that are told
FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
FUTURES = sum({getattr(future, name).compiler_flag for name in future.all_feature_names})
PLACE = struct.Struct("=3i")  # cell, statement, line
CO_COROUTINE = 0x80


class Interrupt(KeyboardInterrupt):
    """The client's word that a statement took its share of time, raised in it as Jupyter's own interrupt is."""


@dataclass(frozen=True)
class Piece:
    """A part of a cell that runs by itself: a statement, or what is no Python with the error that says so."""

    node: ast.stmt | None
    first: int
    last: int
    error: BaseException | None = None


# -- reading ------------------------------------------------------------------------------------------------------------


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


# -- running ------------------------------------------------------------------------------------------------------------


class Runner:
    """Runs cells in one module's names.

    Args:
        names: of the module.
        reader: reads the cells.
        place: where the number of the cell, of the statement and of its line are written before it begins, so that the
            client knows them when the process is lost.
        describe: kind, line and detail of an exception.
        threads: a statement after which there are more of them waits for the client to see it.
    """

    def __init__(
        self,
        names: dict,
        reader: Reader,
        place: object,
        describe: Callable[[BaseException], dict],
        threads: int,
    ) -> None:
        self.names, self.reader, self.place, self.describe, self.threads = names, reader, place, describe, threads
        self.flags = 0
        self.count = 0
        self.running = False
        self.loop: object = None
        self.errors: list[dict] = []

    def load(self, cells: list, skip: set[tuple[int, int]], script: bool) -> None:
        """Run every cell, without the statements ``(cell, statement)`` in ``skip``."""
        signal.signal(signal.SIGINT, self.interrupt)
        if any("asyncio" in source for _, source in cells):
            let_loops_be_made()
        for number, (label, source) in enumerate(cells):
            self.at(number, -1, 0)
            text, pieces = self.reader.pieces(source, script)
            name = CELL.format(label)
            linecache.cache[name] = (len(text), None, rows(text), name)
            value = None
            for index, piece in enumerate(pieces):
                if (number, index) in skip:
                    continue
                self.at(number, index, piece.first)
                error = piece.error
                if error is None:
                    last = not script and index == len(pieces) - 1 and not source.rstrip().endswith(";")
                    with contextlib.suppress(Interrupt):  # one that comes too late
                        value, error = self.run(piece.node, name, last)
                if error is not None:
                    ends = isinstance(piece.node, ast.Raise) and not script
                    self.note(number, index, piece, pieces[-1].last if ends else piece.last, error)
                    if ends:
                        break
            if not script:
                self.remember(source, value)
        self.at(-1, -1, 0)

    def at(self, *place: int) -> None:
        PLACE.pack_into(self.place, 0, *place)

    def run(self, node: ast.stmt, name: str, last: bool) -> tuple[object, BaseException | None]:
        """The value of a statement, when it is the last and an expression, and what it raised."""
        try:
            wanted = last and isinstance(node, ast.Expr)
            tree = ast.Expression(node.value) if wanted else ast.Module([node], [])
            code = compile(tree, name, "eval" if wanted else "exec", self.flags | FLAGS, dont_inherit=True)
            self.flags |= code.co_flags & FUTURES
            self.running = True
            value = self.execute(code)
            self.wait_for_the_client()
            return (value if wanted else None), None
        except BaseException as error:
            return None, error
        finally:
            self.running = False

    def execute(self, code: types.CodeType) -> object:
        if not code.co_flags & CO_COROUTINE:
            return eval(code, self.names)
        if self.loop is None:
            self.loop = let_loops_be_made().new_event_loop()
        return self.loop.run_until_complete(eval(code, self.names))

    def nested(self, source: str, names: dict) -> object:
        """Run what a magic was given; the value of a single expression."""
        text, pieces = self.reader.pieces(source, False)
        self.count += 1
        name = f"<magic {self.count}>"
        linecache.cache[name] = (len(text), None, rows(text), name)
        value = None
        for piece in pieces:
            if piece.error is not None:
                raise piece.error
            tree = (
                ast.Expression(piece.node.value) if isinstance(piece.node, ast.Expr) else ast.Module([piece.node], [])
            )
            code = compile(tree, name, "exec" if isinstance(tree, ast.Module) else "eval", self.flags | FLAGS)
            value = self.execute(code)
        return value

    def wait_for_the_client(self) -> None:
        """Let the client, which counts threads from outside, see a statement that started too many."""
        threading = sys.modules.get("threading")
        if threading is not None and (now := threading.active_count()) >= self.threads:
            self.threads = now + 1
            time.sleep(1)

    def interrupt(self, *_: object) -> None:
        if self.running:
            raise Interrupt

    def note(self, cell: int, statement: int, piece: Piece, last: int, error: BaseException) -> None:
        if len(self.errors) < MOST_ERRORS:
            place = {"cell": cell, "statement": statement, "first": piece.first, "last": last}
            told = self.describe(error)
            if isinstance(error, SyntaxError):
                told["line"] = error.lineno or piece.first
            self.errors.append({**place, **told})

    def remember(self, source: str, value: object) -> None:
        """What a notebook keeps of each cell: `In`, `Out`, and the last results."""
        names = self.names
        with contextlib.suppress(Exception):  # they may be anything by now
            names["In"].append(source)
            if value is not None:
                names["Out"][len(names["In"]) - 1] = value
                names.update(_=value, __=names.get("_", ""), ___=names.get("__", ""))


def let_loops_be_made() -> types.ModuleType:
    """asyncio, whose loops are woken through a pipe: a pair of sockets is what the jail does not give."""
    import asyncio
    import asyncio.selector_events as events

    class End:
        def __init__(self, handle: int) -> None:
            self.handle = handle
            os.set_blocking(handle, False)

        def fileno(self) -> int:
            return self.handle

        def recv(self, count: int) -> bytes:
            return os.read(self.handle, count)

        def send(self, data: bytes) -> int:
            return os.write(self.handle, data)

        def setblocking(self, flag: bool) -> None:
            return None

        def close(self) -> None:
            os.close(self.handle)

    def socketpair() -> Iterator[End]:
        return map(End, os.pipe())

    events.socket = types.SimpleNamespace(**{**vars(events.socket), "socketpair": socketpair})
    return asyncio
