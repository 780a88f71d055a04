"""The last cell of an assignment: its notebook's solution becomes a module of the student's copy of the package."""

from __future__ import annotations

import importlib
import os
import sys
import textwrap
import types
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cs336lite.course import saved
from cs336lite.course.check import CheckReport
from cs336lite.course.export import cells_of, kept_beside, modules_of, read_notebook
from cs336lite.course.exported import judge
from cs336lite.course.module import STUB_LINE, STUDENT_LINE, global_names, missing, unknown_names
from cs336lite.course.paths import (
    GRADED_MODULES,
    CourseError,
    assignment_notebook,
    is_student_edition,
    own_root,
    write_atomic,
)
from cs336lite.course.regions import UNSOLVED
from cs336lite.course.saved import Kernel

__all__ = ["ExportResult", "export_solution", "export_student"]


@dataclass(frozen=True)
class ExportResult:
    """What the export of a student's notebook did: the files written, what is unsolved, and what to tell the student."""

    written: tuple[Path, ...] = ()
    unsolved: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()


def export_solution(assignment: str, notebook_path: str | Path | None = None, root: str | Path | None = None) -> None:
    """Put the solution in this notebook into your copy of the package, where later lectures use it, and check it there.

    The notebook must be saved: the export reads the file. It notices code that was run and not saved; what was only
    typed, neither run nor saved, it cannot see. Without ``notebook_path`` it is the notebook that runs this.
    In the full repository, whose modules are built from the texts, nothing is written.
    """
    try:
        result = export_student(assignment, notebook_path, root)
    except CourseError as problem:
        say([f"Not exported: {problem}"])
        return
    say(result.messages)  # before the checks, which take a while
    if result.written:
        say(worth(Path(root) if root else own_root(), assignment, result))


def say(lines: Iterable[str]) -> None:
    """Print lines that JupyterLab need not break, which it does within words."""
    for line in lines:
        print(
            textwrap.fill(line, 100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False), flush=True
        )


def export_student(
    assignment: str,
    notebook_path: str | Path | None = None,
    root: str | Path | None = None,
    kernel: Kernel | None = None,
) -> ExportResult:
    """The export alone, without checks, with errors raised. ``kernel`` is what the notebook has run.

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
    running = saved.running()
    path = _find_notebook(assignment, notebook_path, root, running.names)
    notebook = read_notebook(path)
    cells = cells_of(notebook, path, assignment)
    modules = modules_of(cells, assignment)
    twice = []
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
        unsaved, doubled = saved.compare(cells.exported[module], cells.others, running if kernel is None else kernel)
        if unsaved:
            raise CourseError(
                f"the saved {path.name} does not hold {_and(unsaved)} as you have run it last. Save the notebook (Ctrl+S, "
                "on a Mac Cmd+S) and run this cell again. If it is saved, you have changed it since you ran it: run "
                "that cell and its check once more, then this one"
            )
        twice += doubled
        _try_import(module, source, path)
    written = []
    for module, source in modules.items():
        written.append(root / "cs336lite" / f"{module}.py")
        write_atomic(written[-1], source)
        loaded = sys.modules.get(f"cs336lite.{module}")
        if loaded and Path(loaded.__file__).resolve() == written[-1].resolve():  # and no module of another copy
            importlib.invalidate_caches()
            importlib.reload(loaded)
    unsolved = tuple(name for source in modules.values() for name in missing(source))
    files = _and([f"cs336lite/{file.name}" for file in written], quote="")
    messages = [f"Exported {path.name}, as it is saved, to {files}."]
    if unsolved:
        messages.append(f"Not solved yet: {', '.join(unsolved)}.")
    if unknown := [name for source in modules.values() for name in unknown_names(source)]:
        messages.append(
            f"No exported cell defines or imports {_and(unknown)}: what uses it will fail in other notebooks."
        )
    messages += [
        f"`{t.name}` stands in two cells: exported is that of {t.exported}, and the one you ran last is {t.ran}. Keep one."
        for t in twice
    ]
    return ExportResult(tuple(written), unsolved, tuple(messages))


def worth(root: Path, assignment: str, result: ExportResult) -> list[str]:
    """What the public checks say of the exported module, and what lectures do with it."""
    if not (root / "assignments" / "public" / f"{assignment}.py").exists():
        return []
    try:
        report = CheckReport(assignment, tuple(judge(root, assignment)))
    except CourseError as problem:
        return [f"It is exported, but {problem}."]
    except KeyboardInterrupt:
        return ["It is exported. Its public checks were interrupted: run this cell again for them."]
    right, all_of_them = sum(r.passed for r in report.results), len(report.results)
    lines = [f"{right} of {all_of_them} public checks pass on the exported code."]
    failed = replace(report, results=tuple(r for r in report.results if not r.passed and UNSOLVED not in r.message))
    lines += [f"  not yet: {r.id}: {message}" for r, message in failed.rows()]
    if result.unsolved:
        return [*lines, "Lectures go on without it until all of it is solved."]
    if right < all_of_them:
        lines.append(
            "Lectures use it as it is, so what they show may be wrong: mend it, save, and run this cell again."
        )
    return [*lines, USED]


USED = (
    "Lectures that you start from now on use it; one that is open already does when you restart its kernel (menu Kernel, "
    "Restart Kernel)."
)


def _check_replaceable(path: Path) -> None:
    if path.exists() and not path.read_text(encoding="utf-8").startswith((STUB_LINE, STUDENT_LINE)):
        raise CourseError(
            f"{path} was not written by an export, so it is left alone: move it elsewhere, then run this cell again"
        )


def _and(names: list[str], quote: str = "`") -> str:
    return ", ".join(f"{quote}{name}{quote}" for name in names)


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
