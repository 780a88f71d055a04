"""The source of a module: put together from the exported cells of a notebook, and read again.

Imports move to the top and unused ones go: to hand a name on, write ``from x import name as name`` or ``__all__``.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import re
import subprocess
import symtable
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from cs336lite.course.paths import CourseError
from cs336lite.course.regions import CODE_STUB, UNSOLVED

LINE_LENGTH = 120
STUB_LINE = "# Stub of "
STUDENT_LINE = "# Exported from "
BUILT_LINE = "# Built from "

NOTEBOOK_NAMES = {"display", "get_ipython"}
"""What IPython puts among the built-in names."""

MODULE_NAMES = {"__annotations__", "__builtins__", "__file__", "__loader__", "__name__", "__package__", "__spec__"}
MODULE_NAMES |= {"__module__", "__qualname__"}  # in the body of a class

_MAGIC = re.compile(r"\s*[%!?]|.*\?\s*\Z")


@dataclass(frozen=True)
class Piece:
    """One exported cell: what goes into the module, what stands in the notebook, and the name of a line of that (of a student's cell,
    where no line is given)."""

    source: str
    written: str
    where: Callable[..., str]


def built_header(text: str) -> str:
    """The first line of a module built from ``text``, a path relative to the repository root."""
    return f"{BUILT_LINE}{text} by `cs336lite build`: edit that file, not this one."


def built_modules(root: Path) -> list[str]:
    """The names of the modules in the package of ``root`` that texts have built, in order of the alphabet."""
    paths = sorted((root / "cs336lite").glob("*.py"))
    return [path.stem for path in paths if path.read_text(encoding="utf-8").startswith(BUILT_LINE)]


def stub_header(assignment: str) -> str:
    return f"{STUB_LINE}{assignment}: solve {student_path(assignment)}, whose last cell writes your own code here."


def student_header(assignment: str) -> str:
    return f"{STUDENT_LINE}{student_path(assignment)}: your own solution; edit it there and run its last cell again."


def student_path(assignment: str) -> str:
    return f"assignments/{assignment}/{assignment}.ipynb"


def bare(source: str) -> str:
    """A cell's code without what an editor changes at the ends of its lines, and with the paths of an edition."""
    return "\n".join(line.rstrip() for line in in_edition(source).strip().splitlines())


def in_edition(text: str) -> str:
    """What the repository says of where an assignment's notebook lies, as it is in a student edition."""
    return text.replace("assignments/source/", "assignments/")


# ------------------------------------------------------------------------------------------------ from pieces to module


def shared_imports(pieces: dict[str, list[Piece]]) -> dict[str, list[str]]:
    """For each module of a notebook that builds several, the imports that it may need: those that any exported cell
    makes, and the names that the modules before it define. What it does not use is removed later."""
    imports: list[str] = []
    for piece in [piece for cells in pieces.values() for piece in cells]:
        check_syntax(piece)
        tree, lines = ast.parse(piece.source), piece.source.split("\n")
        imports += [
            line for first, last, future in _movable_imports(tree, lines) if not future for line in lines[first:last]
        ]
    found, before = {}, []
    for module, cells in pieces.items():
        found[module] = imports + before
        source = "\n".join(piece.source for piece in cells)
        if names := [name for name in definitions(source) if not name.startswith("_")]:
            before = [*before, f"from cs336lite.{module} import {', '.join(names)}"]
    return found


def assemble(pieces: list[Piece], header: str, assignment: str | None = None, shared: Sequence[str] = ()) -> str:
    """The source of the module made of these cells: header, docstring, imports, then the cells in order.

    ``shared`` are further lines of imports, for what other modules of the notebook have imported or defined.

    With ``assignment``, exercises that are not solved raise an error that says where to solve them, and code outside
    functions that is not solved is left out, so that the module can be imported.

    Raises:
        CourseError: a cell is not Python; names the place.
    """
    docstring, futures, imports, bodies = "", [], list(shared), []
    for number, piece in enumerate(pieces):
        check_syntax(piece)
        source = _without_unsolved(piece.source, assignment) if assignment else piece.source
        lines = source.split("\n")
        tree = ast.parse(source)
        if number == 0 and tree.body and _is_docstring(tree.body[0]):
            node = tree.body[0]
            docstring = "\n".join(lines[node.lineno - 1 : node.end_lineno])
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
        for first, last, is_future in _movable_imports(tree, lines):
            (futures if is_future else imports).extend(lines[first:last])
            lines[first:last] = [""] * (last - first)
        bodies.append("\n".join(lines).strip("\n"))
    parts = [f"{header}\n{docstring}", "\n".join(dict.fromkeys(futures)), "\n".join(imports), *bodies]
    return _tidy("\n\n\n".join(part for part in parts if part.strip()) + "\n", pieces)


def check_syntax(piece: Piece) -> None:
    try:
        compile(piece.written, "<cell>", "exec", dont_inherit=True)
    except SyntaxError as problem:
        number = problem.lineno or 1
        line = piece.written.split("\n")[number - 1].strip()
        if _MAGIC.match(line) and not line.startswith("#"):
            raise CourseError(
                f"{piece.where(number)}: `{line}` is a notebook command, which no module can hold: move it to a cell "
                "without `#| export`"
            ) from None
        raise CourseError(f"{piece.where(number)}: not Python: {problem.msg}") from None


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _movable_imports(tree: ast.Module, lines: list[str]) -> Iterator[tuple[int, int, bool]]:
    """(first line, line after the last, is it a future import) of the imports that have their lines to themselves."""
    for before, node, after in zip([None, *tree.body], tree.body, [*tree.body[1:], None]):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if (before and before.end_lineno >= node.lineno) or (after and after.lineno <= node.end_lineno):
            continue
        first = node.lineno - 1
        is_future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        while not is_future and first and lines[first - 1].startswith("#"):  # a comment stays with its import
            first -= 1
        yield first, node.end_lineno, is_future


def _without_unsolved(source: str, assignment: str) -> str:
    """The source with unsolved code that says where to solve it, and that raises only when it is called."""
    note = f"{assignment}: {UNSOLVED}. Open {student_path(assignment)}"
    lines = source.split("\n")

    def visit(body: list[ast.stmt], is_module: bool) -> None:
        for node in body:
            if _is_unsolved(node):
                indent = " " * node.col_offset
                alone = len(body) == 1 and not is_module
                gone = [""] * (node.end_lineno - node.lineno)
                lines[node.lineno - 1 : node.end_lineno] = [f"{indent}{'pass  ' if alone else ''}# {note}", *gone]
                if node.lineno > 1 and lines[node.lineno - 2].strip() == CODE_STUB.split("\n")[0]:
                    lines[node.lineno - 2] = ""
            elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for block in ("body", "orelse", "finalbody"):
                    visit(getattr(node, block, []), False)

    visit(ast.parse(source).body, True)
    return "\n".join(lines).replace(CODE_STUB.split("\n")[1], f'raise NotImplementedError("{note}")')


def _is_unsolved(node: ast.AST) -> TypeGuard[ast.Raise]:
    return (
        isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and getattr(node.exc.func, "id", "") == "NotImplementedError"
        and any(isinstance(a, ast.Constant) and UNSOLVED in str(a.value) for a in node.exc.args)
    )


def _tidy(source: str, pieces: list[Piece]) -> str:
    """The source as ruff writes it: imports sorted, those that nothing uses removed, formatted."""
    settings = ["--isolated", "--config", f"line-length={LINE_LENGTH}", "--config", 'target-version="py311"']
    isort = ('lint.isort.known-first-party=["cs336lite"]', "lint.isort.split-on-trailing-comma=false")
    lint = ["--select", "I,F401", "--config", isort[0], "--config", isort[1], "--fix", "--exit-zero"]
    for arguments in (("check", *settings, *lint), ("format", *settings)):
        source, problem = _ruff((*arguments, "--quiet", "-"), source)
        if "No module named ruff" in problem:
            raise CourseError("ruff is not installed: run `pip install ruff`, or `make` for the course's environment")
        if problem:
            reason = problem.strip().splitlines()[-1]
            raise CourseError(f"{pieces[0].where(1)}: the exported cells together are not a module: {reason}")
    return source


@functools.lru_cache(maxsize=256)  # one release reads each text several times
def _ruff(arguments: tuple[str, ...], source: str) -> tuple[str, str]:
    """(what ruff makes of a source, what it says where it fails)."""
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments], input=source, capture_output=True, encoding="utf-8", check=False
    )
    return done.stdout, (done.stderr or "no message") if done.returncode else ""


# ---------------------------------------------------------------------------------------------------- reading a module


def is_stub(source: str) -> bool:
    """Is this the stub of a student edition, which nobody has solved anything of?"""
    return source.startswith(STUB_LINE)


def missing(source: str) -> list[str]:
    """The functions and methods of a module that are not solved yet, in order.

    >>> missing("def f():\\n    raise NotImplementedError('this exercise is not solved yet')\\ndef g(): ...")
    ['f']
    """
    found: list[tuple[int, str]] = [
        (number, f"line {number}")
        for number, line in enumerate(source.split("\n"), 1)
        if UNSOLVED in line and line.strip().removeprefix("pass").lstrip().startswith("#")
    ]

    def visit(node: ast.AST, name: str) -> None:
        for child in ast.iter_child_nodes(node):
            if _is_unsolved(child) and name:
                found.append((child.lineno, name))
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                visit(child, f"{name}.{child.name}".lstrip("."))
            else:
                visit(child, name)

    visit(ast.parse(source), "")
    return list(dict.fromkeys(name for _, name in sorted(found)))


def defined_names(source: str) -> list[str]:
    """The public names that a module defines at its top level, sorted."""
    return sorted(name for name in definitions(source) if not name.startswith("_"))


def global_names(source: str) -> tuple[set[str], set[str]]:
    """(the names that a source binds at its top level, those that it looks up there); two empty sets if it is not Python.

    Annotations that nothing evaluates are left out.
    """
    try:
        top = symtable.symtable(source, "<module>", "exec")
    except (SyntaxError, ValueError):
        return set(), set()
    bound = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    used = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    tables = list(top.get_children())
    while tables:
        table = tables.pop()
        if "annotation" in str(table.get_type()).lower():
            continue
        tables += table.get_children()
        for symbol in table.get_symbols():
            if symbol.is_global():
                bound |= {symbol.get_name()} if symbol.is_assigned() else set()
                used |= {symbol.get_name()} if symbol.is_referenced() else set()
    return bound, used


def unknown_names(source: str) -> list[str]:
    """The names that a module looks up and nothing defines, sorted; none when a star import in it cannot be followed.

    >>> unknown_names("import math\\ndef f(x): return helper(math.sqrt(x))")
    ['helper']
    """
    bound, used = global_names(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            try:
                module = importlib.import_module("." * node.level + (node.module or ""), "cs336lite")
            except Exception:  # whatever its code raises
                return []
            bound |= set(getattr(module, "__all__", dir(module)))
    return sorted(used - bound - (set(dir(builtins)) - NOTEBOOK_NAMES) - MODULE_NAMES)


def future_imports(source: str) -> list[str]:
    """The ``from __future__`` lines of a source; none if it is not Python."""
    try:
        nodes = ast.parse(source).body
    except (SyntaxError, ValueError):
        return []
    return [ast.unparse(node) for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "__future__"]


def definitions(source: str) -> dict[str, ast.stmt]:
    """Top-level functions, classes and constants by name, the last of each."""
    found: dict[str, ast.stmt] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update({t.id: node for t in targets if isinstance(t, ast.Name)})
    return found
