"""Export: the cells of a notebook that begin with ``#| export`` become a plain Python module.

The same export builds the modules of lectures, the reference of an assignment, its stub in the student edition, and
the module a student's solved notebook gives. The directive is nbdev's; ``#| export other`` goes into another module.
Blank lines and comments may stand above it, and it may be written as formatters write it, ``# | export``.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import linecache
import os
import re
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cs336lite.course.module import (
    BUILT_LINE,
    STUB_LINE,
    STUDENT_LINE,
    Piece,
    assemble,
    built_header,
    defined_names,
    definitions,
    future_imports,
    global_names,
    is_stub,
    missing,
    shared_imports,
    stub_header,
    student_header,
    unknown_names,
)
from cs336lite.course.paths import (
    GRADED_MODULES,
    CourseError,
    assignment_notebook,
    is_student_edition,
    own_root,
    write_atomic,
)
from cs336lite.course.text import Text, first_line, skeleton, solved

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = [
    "BUILT_LINE",
    "ExportResult",
    "defined_names",
    "export_notebook",
    "export_solution",
    "export_student",
    "is_stub",
    "kept_beside",
    "missing",
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
        source = skeleton(source) if stub else solved(source)
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
    notebook = read_notebook(path)
    default = notebook.metadata.get("cs336lite", {}).get("module") or GRADED_MODULES.get(assignment)
    pieces: dict[str, list[Piece]] = {}
    others: list[Piece] = []
    for i, cell in enumerate(notebook.cells, 1):
        if cell.cell_type != "code":
            continue
        exported, module, source = split_directive(cell.source)
        piece = Piece(solved(source), cell.source, _cell_line(path, i, source))
        if exported and (module or default):
            pieces.setdefault(module or default, []).append(piece)
        elif other := _other_directive(cell.source):
            raise CourseError(f"{piece.where(1)}: unknown directive `{other}`: there is only `#| export`")
        else:
            others.append(piece)
    if not pieces:
        raise CourseError(f"{path} has no cell that begins with `#| export`: put back the first line of each exercise")
    # they hold for all later cells
    futures = [line for piece in others for line in future_imports(_without_commands(piece.source))]
    modules = {}
    for module, cells in pieces.items():
        first, *rest = cells  # the docstring and the imports, as it is released
        whole = [first, *helpers(cells, others), *rest]
        modules[module] = assemble(whole, student_header(assignment), assignment, shared=futures)
    for module, source in modules.items():
        _check_helpers(unknown_names(source), pieces[module], others)
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
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
    return "\n".join(source.split("\n")[first - 1 : node.end_lineno])


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


def read_notebook(path: Path) -> NotebookNode:
    """The notebook in a file, in the current format. Raises CourseError when there is none."""
    import nbformat  # here: it is slow, and every process of the grader would import it

    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise CourseError(f"there is no notebook {path}") from None
    except Exception as problem:  # nbformat raises errors of JSON, of its schema and of its own
        raise CourseError(f"{path} is no notebook ({type(problem).__name__}): restore it from the course") from None


# --------------------------------------------------------------------------------------------- the student's last cell


@dataclass(frozen=True)
class ExportResult:
    """What the export of a student's notebook did: the files written, what is unsolved, and what to tell the student."""

    written: tuple[Path, ...] = ()
    unsolved: tuple[str, ...] = ()
    messages: tuple[str, ...] = field(default=())


def export_solution(assignment: str, notebook_path: str | Path | None = None, root: str | Path | None = None) -> None:
    """Put the solution in this notebook into your copy of the package, where later lectures use it.

    The notebook must be saved: the export reads the file. Without ``notebook_path`` it is the notebook that runs this.
    In the full repository, whose modules are built from the texts, nothing is written.
    """
    try:
        result = export_student(assignment, notebook_path, root)
    except CourseError as problem:
        print(f"Not exported: {problem}")
        return
    print("\n".join(result.messages))


def export_student(
    assignment: str,
    notebook_path: str | Path | None = None,
    root: str | Path | None = None,
    namespace: dict[str, Any] | None = None,
) -> ExportResult:
    """`export_solution`, with a result to look at and errors raised. ``namespace`` is what the notebook has run.

    Raises:
        CourseError: no notebook, not Python, names are missing, it is not saved, or it cannot be imported. The
            module that was there before stays.
    """
    root = Path(root) if root else own_root()
    if not is_student_edition(root):
        return ExportResult(
            messages=(
                f"This is the full course: {assignment}'s module is built from its text, so nothing is exported.",
            )
        )
    shell_names = _shell_namespace()
    namespace = shell_names if namespace is None else namespace
    path = _find_notebook(assignment, notebook_path, root, shell_names)
    notebook = read_notebook(path)
    modules = export_notebook(path, assignment)
    for module, source in modules.items():
        kept = kept_beside(root, module)
        if kept.exists():
            raise CourseError(
                f"{assignment} is unlocked, so the package uses the reference and your own code waits in {kept.name}; "
                f"`cs336lite unlock {assignment} --undo` brings yours back"
            )
        _check_replaceable(root / "cs336lite" / f"{module}.py")
        wanted = notebook.metadata.get("cs336lite", {}).get("names", {}).get(module, [])
        if lost := [name for name in wanted if name not in global_names(source)[0]]:
            raise CourseError(
                f"{path.name} does not define {_and(lost)} in a cell that begins with `#| export`: has a cell been "
                "deleted or renamed, or has it lost that first line?"
            )
        if unsaved := _not_saved(source, notebook, namespace):
            raise CourseError(
                f"what you have run of {_and(unsaved)} is not what {path.name} holds on disk: save the notebook "
                "(Ctrl+S or Cmd+S), then run this cell again; if that does not help, run the cells above it first"
            )
        _try_import(module, source, path)
    written = []
    for module, source in modules.items():
        written.append(root / "cs336lite" / f"{module}.py")
        write_atomic(written[-1], source)
        if loaded := sys.modules.get(f"cs336lite.{module}"):
            importlib.invalidate_caches()
            importlib.reload(loaded)
    unsolved = tuple(name for source in modules.values() for name in missing(source))
    files = _and([f"cs336lite/{file.name}" for file in written], quote="")
    messages = [f"Exported {path.name} to {files}: notebooks that you start from now on use your code."]
    if unsolved:
        messages.append(f"Not solved yet: {', '.join(unsolved)}.")
    if unknown := [name for source in modules.values() for name in unknown_names(source)]:
        messages.append(
            f"No exported cell defines or imports {_and(unknown)}: what uses it will fail in other notebooks."
        )
    return ExportResult(tuple(written), unsolved, tuple(messages))


def kept_beside(root: Path, module: str) -> Path:
    """Where the student's module waits while a reference is unlocked."""
    return root / "cs336lite" / f"{module}_student.py"


def _check_replaceable(path: Path) -> None:
    if path.exists() and not path.read_text(encoding="utf-8").startswith((STUB_LINE, STUDENT_LINE)):
        raise CourseError(
            f"{path} was not written by an export, so it is left alone: move it elsewhere, then run this cell again"
        )


def _and(names: list[str], quote: str = "`") -> str:
    return ", ".join(f"{quote}{name}{quote}" for name in names)


def _shell_namespace() -> dict[str, Any]:
    """What the running notebook has defined; empty outside one."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell.user_ns if shell else {}


def _find_notebook(assignment: str, given: str | Path | None, root: Path, namespace: dict[str, Any]) -> Path:
    if given:
        return Path(given).resolve()
    # JupyterLab tells the kernel its notebook by the first, VS Code by the second; either may be stale or another one
    told = [os.environ.get("JPY_SESSION_NAME"), namespace.get("__vsc_ipynb_file__")]
    for path in (Path(name) for name in told if name):
        if path.suffix == ".ipynb" and path.exists() and _belongs(path, assignment):
            return path.resolve()
    for path in (Path.cwd() / f"{assignment}.ipynb", assignment_notebook(root, assignment)):
        if path.exists():
            return path.resolve()
    raise CourseError(
        f"{assignment}.ipynb is not in {Path.cwd()}: give its path, "
        f'export_solution("{assignment}", "path/to/the/notebook.ipynb")'
    )


def _belongs(path: Path, assignment: str) -> bool:
    try:
        course = read_notebook(path).metadata.get("cs336lite", {})
    except CourseError:
        return False
    return path.stem == assignment or course.get("module") == GRADED_MODULES.get(assignment)


def _not_saved(source: str, notebook: NotebookNode, namespace: dict[str, Any]) -> list[str]:
    """Names whose code, as the kernel has run it, stands in no cell of the saved notebook."""
    saved: dict[str, set[str]] = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for name, code in _codes(cell.source).items():
                saved.setdefault(name, set()).add(code)
    changed = []
    for name, node in definitions(source).items():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and name in namespace:
            run = _codes(_cell_source(namespace[name])).get(name)
            if run is not None and run not in saved.get(name, set()):
                changed.append(name)
    return changed


def _codes(source: str) -> dict[str, str]:
    """Each top-level function and class by name, as a text that layout and comments do not change."""
    try:
        return {name: ast.dump(node) for name, node in definitions(solved(source)).items()}
    except (SyntaxError, ValueError):
        return {}


def _cell_source(thing: Any) -> str:
    """The source of the cell that defined a function or class, or nothing when it cannot be known."""
    thing = inspect.unwrap(thing) if callable(thing) else thing
    functions = [thing, *vars(thing).values()] if isinstance(thing, type) else [thing]
    for function in functions:
        code = getattr(getattr(function, "__func__", function), "__code__", None)
        if isinstance(code, types.CodeType) and (lines := linecache.getlines(code.co_filename)):
            return "".join(lines)
    return ""


def _try_import(module: str, source: str, path: Path) -> None:
    """Run the module once under another name, so that one that cannot be imported never replaces one that can."""
    name = f"cs336lite._trial_{module}"
    trial = types.ModuleType(name)
    trial.__file__ = f"{module}.py"
    sys.modules[name] = trial
    try:
        exec(compile(source, f"{module}.py", "exec", dont_inherit=True), vars(trial))
    except Exception as problem:
        line = problem.__traceback__.tb_next.tb_lineno if problem.__traceback__.tb_next else 0
        code = source.splitlines()[line - 1].strip() if line else ""
        raise CourseError(
            f"the exported cells of {path.name} cannot be imported on their own: {type(problem).__name__}: {problem} "
            f"(at `{code}`): does an exported cell need something that is defined in one without `#| export`?"
        ) from None
    finally:
        del sys.modules[name]
