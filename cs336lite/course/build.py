"""``cs336lite build``: texts become executed notebooks and modules, each only when something it depends on changed.

A built notebook records in its metadata what it was made from and what was written: a fingerprint of its code and of
everything that code imports, and hashes of its cells, its outputs and its modules. From these the build knows what is
in step, what may keep its outputs, and what a person has edited by hand. Nothing is written before a notebook has run
to its end (`execute`): it runs beside a staged copy of the package that holds the modules of the texts as they are now.
What there is to build, in which order, and what a fingerprint holds is in `plan`.
"""

from __future__ import annotations

import ast
import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from cs336lite import scratch
from cs336lite.course import points
from cs336lite.course.execute import CellFailed, differences, execute_item, shown_notebook, stage
from cs336lite.course.module import built_modules
from cs336lite.course.paths import GRADED_MODULES, CourseError, hidden_checks, is_student_edition, write_atomic
from cs336lite.course.plan import PACKAGE, Item, arrange, dependencies, fingerprint, read_items, sha
from cs336lite.course.plan import plan as plan
from cs336lite.course.regions import first_line

SIZE_LIMIT = 500_000


@dataclass(frozen=True)
class Report:
    """What happened to one text. ``str`` gives a line for the terminal, and one more for each message."""

    name: str
    status: str  # built, unchanged, in step, out of step, refused, failed, skipped
    messages: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.status in ("built", "unchanged", "in step")

    def __str__(self) -> str:
        took = f" ({self.seconds:.0f} s)" if self.seconds >= 1 else ""
        return "\n  ".join([f"{self.name}: {self.status}{took}", *self.messages])


# ---------------------------------------------------------------------------------------------------------- fingerprints


def _cells_hash(notebook: NotebookNode) -> str:
    said = [[c.cell_type, c.get("id"), c.source, c.metadata] for c in notebook.cells]
    return sha(json.dumps(said, sort_keys=True))


def _outputs_hash(notebook: NotebookNode) -> str:
    return sha(
        json.dumps([[c.execution_count, c.outputs] for c in notebook.cells if c.cell_type == "code"], sort_keys=True)
    )


def _dump(notebook: NotebookNode) -> str:
    return nbformat.writes(notebook, version=4).rstrip("\n") + "\n"


# -------------------------------------------------------------------------------------------------- what is out of step


@dataclass
class State:
    """How the built files of one text stand to it."""

    item: Item
    fingerprint: str
    existing: NotebookNode | None = None
    record: dict = field(default_factory=dict)
    edited: list[str] = field(default_factory=list)  # would be lost if the build went on
    stale: list[str] = field(default_factory=list)  # the build will write them
    must_run: bool = False

    @property
    def in_step(self) -> bool:
        return not self.edited and not self.stale


def look(root: Path, item: Item, items: list[Item]) -> State:
    """Compare what is built with what the text says now, without running anything."""
    state = State(item, fingerprint(root, item, items))
    shown = item.notebook.relative_to(root).as_posix()
    if item.notebook.exists():
        try:
            state.existing = nbformat.read(item.notebook, as_version=4)
        except Exception:  # nbformat raises errors of JSON, of its schema and of its own
            state.edited.append(f"{shown} is no notebook: restore it, or delete it and build")
    if state.existing is None:
        state.must_run = True
        state.stale.append(f"{shown} is missing: run `cs336lite build`")
    else:
        state.record = dict(state.existing.metadata.get("cs336lite", {}).get("built", {}))
        cells = _cells_hash(state.existing)
        if cells not in (state.record.get("cells"), _cells_hash(shown_notebook(item))):
            state.must_run = True
            state.edited.append(f"{shown} was edited by hand: make the change in {item.source}")
        if state.record.get("code") != state.fingerprint:
            state.must_run = True
            state.stale.append(
                f"{shown} is older than {item.source} or a module that it imports: run `cs336lite build`"
            )
        elif state.record.get("outputs") != _outputs_hash(state.existing):
            state.must_run = state.must_run or item.kind != "assignment"
            state.stale.append(f"{shown} holds outputs that the build did not write: run `cs336lite build`")
        elif _dump(compose(state)) != item.notebook.read_text(encoding="utf-8"):
            state.stale.append(f"{shown} is not what {item.source} says now: run `cs336lite build`")
    for module, source in item.modules.items():
        path = root / PACKAGE / f"{module}.py"
        written = path.read_text(encoding="utf-8") if path.exists() else None
        if written == source:
            continue
        if written is None:
            state.stale.append(f"{PACKAGE}/{module}.py is missing: run `cs336lite build`")
        elif sha(written) == state.record.get("modules", {}).get(module):
            state.stale.append(f"{PACKAGE}/{module}.py is older than {item.source}: run `cs336lite build`")
        elif state.record:
            state.edited.append(f"{PACKAGE}/{module}.py was edited by hand: make the change in {item.source}")
        else:
            state.edited.append(
                f"{PACKAGE}/{module}.py is not what {item.source} says, and no notebook tells who wrote it"
            )
    return state


def compose(state: State, executed: NotebookNode | None = None) -> NotebookNode:
    """The notebook to write: the text's cells, with outputs of a run or, without one, those it has already."""
    item = state.item
    notebook = shown_notebook(item)
    if item.kind != "assignment":
        donors = [c for c in (executed or state.existing).cells if c.cell_type == "code"]
        for cell, donor in zip((c for c in notebook.cells if c.cell_type == "code"), donors):
            cell.outputs, cell.execution_count = donor.outputs, donor.execution_count
    course = notebook.metadata["cs336lite"]
    course["text"] = item.source
    if item.names:
        course["names"] = item.names
    course["built"] = {
        "code": state.fingerprint,
        "cells": _cells_hash(notebook),
        "outputs": _outputs_hash(notebook),
        "modules": {module: sha(source) for module, source in item.modules.items()},
    }
    return notebook


def orphans(root: Path, items: list[Item], broken: Iterable[str]) -> list[Report]:
    """Built files whose text is gone."""
    if broken:
        return []
    known = {item.notebook for item in items} | {root / PACKAGE / f"{m}.py" for item in items for m in item.modules}
    files = [path for folder in ("notebooks", "notebooks/appendix") for path in (root / folder).glob("*.ipynb")]
    files += (root / "assignments" / "source").glob("*/*.ipynb")
    files += [root / PACKAGE / f"{module}.py" for module in built_modules(root)]
    return [
        Report(path.relative_to(root).as_posix(), "out of step", ("no text builds this file: delete it",))
        for path in sorted(files)
        if path not in known and not re.search(r" \(mine( \d+)?\)$", path.stem)  # what `cs336lite reset` kept
    ]


# ---------------------------------------------------------------------------------------------------------------- build


def build(
    root: Path,
    names: Iterable[str] | None = None,
    *,
    check: bool = False,
    execute: bool = False,
    force: bool = False,
    progress: bool = True,
    read: tuple[list[Item], dict[str, CourseError]] | None = None,
) -> list[Report]:
    """Bring notebooks and modules in step with the texts; one report for each text, in the order of the course.

    Args:
        root: the repository.
        names: texts to build ("03", "03_architecture", "a1"), with what they need; by default all.
        check: write nothing, and report what is out of step, with the file to edit or the command to run.
        execute: with ``check``, also run the notebooks and compare their outputs (images and timings excepted).
        force: discard edits that were made by hand in built files.
        progress: show a bar when the terminal can.
        read: the texts as `read_items` gives them, when they have been read already.

    Raises:
        CourseError: a student edition, an unknown name, or an order of imports that cannot be.
    """
    if is_student_edition(root):
        raise CourseError("this is a student edition, which has no texts to build from; build in the full repository")
    items, broken = read or read_items(root)
    order = arrange(root, items, broken)
    chosen = _choose(root, order, list(broken), names)
    reports = [Report(name, "failed", (str(problem),)) for name, problem in broken.items() if name in chosen]
    states = [look(root, item, items) for item in order if item.name in chosen]
    total = sum(len(s.item.code) for s in states if (execute if check else _will_run(s, force)))
    scratch.sweep()
    with _bar(total, progress) as bar, scratch.Scratch("build") as staged:
        if total:
            stage(root, items, staged)
        failed: set[str] = set()
        for state in states:
            bar.set_description(state.item.name)
            started = time.monotonic()
            waits = failed & _modules_needed(root, state.item, items)
            if check:
                status, messages = _check(root, state, staged if execute else None, bar.update)
            elif waits:
                status, messages = "skipped", [f"it needs {PACKAGE}.{min(waits)}, which was not built"]
            else:
                status, messages = _make(root, state, staged, force, bar.update)
            if status in ("failed", "refused", "skipped"):
                failed |= set(state.item.modules)
            reports.append(Report(state.item.name, status, tuple(messages), time.monotonic() - started))
    return reports + (orphans(root, items, broken) if names is None else [])


def _choose(root: Path, order: list[Item], broken: list[str], names: Iterable[str] | None) -> set[str]:
    known = [item.name for item in order] + broken
    if names is None:
        return set(known)
    chosen: set[str] = set()
    for name in names:
        stem = Path(name).stem
        matches = [k for k in known if stem in (k, k.split("_")[0])]
        if not matches:
            raise CourseError(f"there is no text {name!r}; there are: {', '.join(known) or 'none'}")
        chosen.update(matches)
    for item in reversed(order):
        if item.name in chosen:
            needed = _modules_needed(root, item, order)
            chosen |= {other.name for other in order if needed & set(other.modules)}
    return chosen


def _modules_needed(root: Path, item: Item, items: list[Item]) -> set[str]:
    return set(dependencies(root, item, items)) - set(item.modules)


def _will_run(state: State, force: bool) -> bool:
    return state.must_run and (force or not state.edited)


def _bar(total: int, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit="cell", leave=False, disable=None if progress and total else True)


def _unfinished(root: Path, item: Item) -> list[str]:
    """What an assignment lacks, and would lack in silence: a place in the course, an export, points that agree."""
    if item.kind != "assignment":
        return []
    (module,), found = item.modules, []
    if GRADED_MODULES.get(item.name) != module:
        found.append(f'GRADED_MODULES in {PACKAGE}/course/paths.py has no line "{item.name}": "{module}": add it')
    cells = item.text.notebook.cells
    ids = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in cells]
    last = ids.index("export") if "export" in ids else len(ids) - 1
    calls = (ast.unparse(n) for n in ast.walk(ast.parse(cells[last].source)) if isinstance(n, ast.Call))
    if ids[last] != "export" or f"export_solution({item.name!r})" not in calls:
        said = f'a cell `# %% locked="export"` with export_solution("{item.name}") is missing: students export there'
        found.append(str(item.text.error(last, said, 0)))
    try:
        hidden = hidden_checks(root / "assignments", item.name)
        return found + points.differences(item.text, hidden, hidden.relative_to(root).as_posix())
    except CourseError as problem:
        return [*found, str(problem)]


def _check(root: Path, state: State, staged: Path | None, step: Callable[[], Any]) -> tuple[str, list[str]]:
    wrong = [*state.edited, *state.stale, *_unfinished(root, state.item)]
    if wrong:
        return "out of step", wrong
    if staged is None:
        return "in step", []
    try:
        executed = execute_item(state.item, staged, step)
    except CellFailed as problem:
        return "failed", [str(problem)]
    found = differences(state.item, state.existing, executed) if state.item.kind != "assignment" else []
    return ("out of step" if found else "in step"), found


def _make(root: Path, state: State, staged: Path, force: bool, step: Callable[[], Any]) -> tuple[str, list[str]]:
    item = state.item
    if state.edited and not force:
        return "refused", [*state.edited, "nothing was written; `cs336lite build --force` discards these edits"]
    if found := _unfinished(root, item):
        return "failed", found
    if state.in_step:
        return "unchanged", []
    try:
        notebook = compose(state, execute_item(item, staged, step) if state.must_run else None)
        written = _dump(notebook)
        if len(written.encode()) > SIZE_LIMIT:
            raise CourseError(
                f"{item.notebook.name} would have {len(written.encode()) // 1000} kB, and the limit is "
                f"{SIZE_LIMIT // 1000} kB: {_largest(item, notebook)}; plot fewer points or at a lower dpi"
            )
    except CourseError as problem:
        return "failed", [str(problem)]
    write_atomic(item.notebook, written)
    for module, source in item.modules.items():
        write_atomic(root / PACKAGE / f"{module}.py", source)
    return "built", []


def _largest(item: Item, notebook: NotebookNode) -> str:
    sizes = [len(json.dumps(c.get("outputs", []))) for c in notebook.cells]
    i = sizes.index(max(sizes))
    return str(item.text.error(i, f"the output of `{first_line(notebook.cells[i].source)}` has {sizes[i] // 1000} kB"))
