"""How a submission's cells are run: as Jupyter runs them, statement by statement, so that one loses no more than itself.

Loads without the package, beside the worker, and runs in the submission's own process. A statement that fails, or that the
client stops (see `Interrupt`), is left; those after it run. Only a ``raise`` that stands by itself ends its cell: whoever
writes it wants that.
"""

from __future__ import annotations
import __future__ as future

import ast
import contextlib
import linecache
import os
import signal
import struct
import sys
import time
import types
from collections.abc import Callable, Iterator
from itertools import zip_longest

from reader import Piece, Reader, rows  # beside this file

CELL = "<cell {}>"
MOST_ERRORS = 100  # that are told
FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
FUTURES = sum({getattr(future, name).compiler_flag for name in future.all_feature_names})
PLACE = struct.Struct("=3i")  # cell, statement, line
CO_COROUTINE = 0x80


class Interrupt(KeyboardInterrupt):
    """The client's word that a statement took its share of time, raised in it as Jupyter's own interrupt is."""


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
        known: dict[str, list[str]] = {}
        for number, (label, source) in enumerate(cells):
            self.at(number, -1, 0)
            text, pieces = self.reader.pieces(source, script)
            name = CELL.format(label)
            for each in {name, CELL.format("")} if script else {name}:  # a file comes in parts, each on its own lines
                both = zip_longest(rows(text), known.get(each, []), fillvalue="\n")
                known[each] = [new if new.strip() else old for new, old in both]
                linecache.cache[each] = (len(text), None, known[each], each)
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
            return (value if wanted else None), None
        except BaseException as error:
            return None, error
        finally:
            self.running = False
            self.wait_for_the_client()

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
