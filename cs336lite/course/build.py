"""``cs336lite build``: texts become executed notebooks and modules, each only when something it depends on changed.

A built notebook records in its metadata what it was made from and what was written: a fingerprint of its code and of
everything that code imports, and hashes of its cells, its outputs and its modules. From these the build knows what is
in step, what may keep its outputs, and what a person has edited by hand. Nothing is written before a notebook has run
to its end: it runs beside a staged copy of the package that holds the modules of the texts as they are now.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import os
import re
import shutil
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from cs336lite import scratch
from cs336lite.course import form, points
from cs336lite.course.export import BUILT_LINE, defined_names, text_modules
from cs336lite.course.module import built_modules
from cs336lite.course.papers import link_papers
from cs336lite.course.paths import GRADED_MODULES, CourseError, is_appendix, is_student_edition, way, write_atomic
from cs336lite.course.spec import load_spec
from cs336lite.course.text import Text, first_line, read_text, without_echo

VERSION = 1
"""Part of every fingerprint: raise it when the builder's own changes ask for a rebuild of everything."""

SIZE_LIMIT = 500_000
CELL_SECONDS = 1200
PACKAGE = "cs336lite"
TOOLS = frozenset(
    "build check demo edition_readme export exported form hint lab last_cell leaks papers paths points progress "
    "ready reference release reset saved spec status study text unlock have".split()
)
"""Modules of ``cs336lite.course`` that never change what a notebook shows, so that editing one rebuilds nothing."""


@dataclass(frozen=True)
class Item:
    """One text of the course and what is built from it."""

    name: str
    kind: str  # "lecture", "appendix" or "assignment"
    text: Text
    source: str  # the text's path from the root
    notebook: Path
    modules: dict[str, str]
    names: dict[str, list[str]]  # the public names that a student's module must define

    @cached_property
    def code(self) -> list[str]:
        return [cell.source for cell in self.text.notebook.cells if cell.cell_type == "code"]


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


class CellFailed(CourseError):
    """A cell raised while its notebook was built."""


# ------------------------------------------------------------------------------------------------- what there is to build


def read_items(root: Path) -> tuple[list[Item], dict[str, CourseError]]:
    """All texts that can be read, and the errors of the others by name.

    Lectures by number, each before its appendices; then the assignments by number.
    """
    items: list[Item] = []
    broken: dict[str, CourseError] = {}
    lectures, assignments = root / "notebooks" / "text", root / "assignments" / "text"
    found = [("lecture", path) for path in lectures.glob("[0-9]*_*.py")]
    found += [("appendix", path) for path in (lectures / "appendix").glob("*.py")]
    order = way(path.stem for _, path in found)
    found.sort(key=lambda text: order.index(text[1].stem))
    found += sorted((("assignment", path) for path in assignments.glob("a[0-9]*_*.py")), key=_number)
    for kind, path in found:
        try:
            items.append(_read_item(root, kind, path))
        except CourseError as problem:
            broken[path.stem] = problem
    return items, broken


def _number(found: tuple[str, Path]) -> tuple[int, str]:
    number = re.search(r"\d+", found[1].stem)
    return int(number[0]) if number else 0, found[1].stem


def _read_item(root: Path, kind: str, path: Path) -> Item:
    text = read_text(path)
    for cell in text.notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = link_papers(cell.source)
    source = path.relative_to(root).as_posix()
    modules = text_modules(text, source)
    if kind != "assignment":
        _check_place(kind, text)
        for i, cell in enumerate(text.notebook.cells):
            if "nbgrader" in cell.metadata:
                raise text.error(i, "solution, grade and locked cells belong to assignments, not to lectures", 0)
            if kind == "appendix" and "cs336lite" in cell.metadata:
                raise text.error(i, "an appendix has no exercises: they belong to its lecture", 0)
        _check_lecture(root, text)
        folder = root / "notebooks" / ("appendix" if kind == "appendix" else "")
        return Item(path.stem, kind, text, source, folder / f"{path.stem}.ipynb", modules, {})
    for i, cell in enumerate(text.notebook.cells):
        if "cs336lite" in cell.metadata:
            raise text.error(i, 'an ungraded exercise belongs to a lecture; here `# %% solution="..."` is one', 0)
    if set(modules) != {text.course.get("module")}:
        raise text.error(0, f"an assignment builds the one module that its header names, not {sorted(modules)}")
    names = {module: defined_names(code) for module, code in text_modules(text, source, stub=path.stem).items()}
    notebook = root / "assignments" / "source" / path.stem / f"{path.stem}.ipynb"
    return Item(path.stem, kind, text, source, notebook, modules, names)


def _check_place(kind: str, text: Text) -> None:
    """Lectures and appendices lie where their names say, and an appendix has a lecture before it."""
    name = text.path.stem
    if not re.match(r"\d\d[a-w]?x?_", name) or is_appendix(name) != (kind == "appendix"):
        raise text.error(0, "a lecture is notebooks/text/NN_topic.py, an appendix notebooks/text/appendix/NNx_topic.py")
    lecture = re.match(r"\d\d[a-w]?", name)[0]
    if kind == "appendix" and not list(text.path.parents[1].glob(f"{lecture}_*.py")):
        raise text.error(0, f"an appendix belongs to a lecture, and there is no lecture {lecture}")


def _check_lecture(root: Path, text: Text) -> None:
    """Hold a lecture to its form, give it its badge, and see that each exercise has checks and hints, and they it."""
    cells, name = text.notebook.cells, text.path.stem
    if form.has_form(text.notebook):
        for i, problem in form.problems(text.notebook):
            raise text.error(i, problem)
    asked = {c.metadata["cs336lite"]["exercise"]: i for i, c in enumerate(cells) if "cs336lite" in c.metadata}
    path = lecture_checks(root, name)
    spec = load_spec(path) if path.exists() else None
    checked = set(spec.exercises) & set(spec.hints) if spec else set()
    for exercise, i in asked.items():
        if exercise not in checked:
            raise text.error(i, f"the exercise {exercise!r} has no checks or no hints: write them in {path}", 0)
    if spec and (lost := (set(spec.exercises) | set(spec.hints)) - set(asked)):
        raise text.error(0, f"{path} is about {sorted(lost)}, and no cell says `exercise=` so")
    effort = form.effort(text.notebook)
    text.course["effort"] = effort.as_dict()
    for cell in cells:
        if cell.cell_type == "markdown" and form.BADGE in cell.source:
            cell.source = cell.source.replace(form.BADGE, effort.badge(text.course["minutes"]))


def lecture_checks(root: Path, name: str) -> Path:
    """Where the checks and hints of a lecture's exercises lie."""
    return root / "notebooks" / "checks" / f"{name}.py"


def plan(root: Path) -> list[Item]:
    """Every text in the order of the course: lectures by number, each followed by its appendices, and each assignment
    before the first of them that it is for.

    Raises:
        CourseError: a text cannot be read, or a notebook imports what nothing before it has built.
    """
    items, broken = read_items(root)
    for problem in broken.values():
        raise problem
    return arrange(root, items)


def arrange(root: Path, items: list[Item], unread: Iterable[str] = ()) -> list[Item]:
    """The items in the order of the course. ``unread`` names texts whose modules are not known.

    Raises:
        CourseError: two texts build one module; an import that nothing builds, that a later lecture builds, or that
            goes round in a circle; each with the line of the import.
    """
    builders: dict[str, Item] = {}
    for item in items:
        for module in item.modules:
            if module in builders:
                raise CourseError(
                    f"{item.source} builds {PACKAGE}.{module}, and so does {builders[module].source}: one text builds a "
                    f"module. Give this one another name; `from {PACKAGE}.{module} import x as x` there hands x on"
                )
            builders[module] = item
    needs = {item.name: list(_needs(root, item, builders, list(unread))) for item in items}
    order: list[Item] = []
    placing: list[Item] = []

    def _stands_alone(needed: Item, item: Item) -> bool:
        """Whether ``needed`` is an appendix of this lecture that imports nothing of it: then it is built before."""
        mine = needed.kind == "appendix" and needed.name.split("x_")[0] == item.name.split("_")[0]
        return mine and all(other is not item for _, other, *_ in needs[needed.name])

    def place(item: Item) -> None:
        placing.append(item)
        for module, needed, cell, line in needs[item.name]:
            if needed in order:
                continue
            if needed in placing:
                circle = " → ".join(i.name for i in [*placing[placing.index(needed) :], needed])
                raise item.text.error(cell, f"imports {PACKAGE}.{module}, which goes round in a circle: {circle}", line)
            if needed.kind != "assignment" and not _stands_alone(needed, item):
                where = placing[0] if placing[0].kind != "assignment" else item
                raise item.text.error(
                    cell,
                    f"imports {PACKAGE}.{module}, which {needed.name} builds only after {where.name}: a notebook imports "
                    "only what earlier notebooks, their appendices and due assignments built",
                    line,
                )
            place(needed)
        order.append(placing.pop())

    for item in sorted(items, key=lambda item: item.kind == "assignment"):
        if item not in order:
            place(item)
    return order


def used(root: Path, items: list[Item]) -> dict[str, set[str]]:
    """The modules of the course that the cells of each text import, or the course's tools for them, by the text's name."""
    builders = {module: item for item in items for module in item.modules}
    found = {}
    for item in items:
        imported = {_resolve(root, name, builders) for cell in item.code for name, _ in _imports(cell, PACKAGE)}
        for tool in imported - set(builders):
            source = root.joinpath(PACKAGE, *tool.split(".")).with_suffix(".py").read_text(encoding="utf-8")
            package = f"{PACKAGE}.{tool}".rpartition(".")[0]
            imported = imported | {_resolve(root, name, builders) for name, _ in _imports(source, package)}
        found[item.name] = (imported & set(builders)) - set(item.modules)
    return found


def _needs(
    root: Path, item: Item, builders: dict[str, Item], unread: list[str]
) -> Iterator[tuple[str, Item, int, int]]:
    """(module, who builds it, cell, line in the cell) of each import from the course in a notebook's cells."""
    for i, cell in enumerate(item.text.notebook.cells):
        if cell.cell_type != "code":
            continue
        for dotted, line in _imports(cell.source, PACKAGE):
            if f"{dotted}.".startswith(f"{PACKAGE}.grading."):
                raise item.text.error(i, f"imports {PACKAGE}.grading, which no student edition has", line)
            found = _resolve(root, dotted, builders)
            if not found:
                hint = f" (not read: {', '.join(unread)})" if unread else ""
                raise item.text.error(i, f"imports {PACKAGE}.{dotted.split('.')[1]}, which nothing builds{hint}", line)
            if found in builders and (builders[found] is not item or item.kind == "assignment"):
                if builders[found] is item:
                    raise item.text.error(i, f"imports {dotted}, which this very assignment builds", line)
                yield found, builders[found], i, line


@cache  # every text asks for all that it imports, directly or not
def _imports(source: str, package: str) -> tuple[tuple[str, int], ...]:
    """(dotted name, line) of everything that code inside ``package`` imports from the course."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [(name, node.lineno) for name in names if name.startswith(f"{PACKAGE}.")]
    return tuple(found)


def _resolve(root: Path, dotted: str, built: Iterable[str]) -> str:
    """The module of the course that ``dotted`` (a module or a name in one) comes from: "bpe", "course.data", or ""."""
    parts = dotted.split(".")[1:]
    if parts[0] in built:
        return parts[0]
    folder = root / PACKAGE
    for depth, part in enumerate(parts, 1):
        file = folder / f"{part}.py"
        if file.is_file():
            is_leftover = depth == 1 and file.read_text(encoding="utf-8").startswith(BUILT_LINE)  # its text is gone
            return "" if is_leftover else ".".join(parts[:depth])
        if (folder / part).is_dir():
            folder = folder / part
            continue
        initial = folder / "__init__.py"
        defined = initial.is_file() and re.search(rf"\b{re.escape(part)}\b", initial.read_text(encoding="utf-8"))
        return ".".join([*parts[: depth - 1], "__init__"]) if defined else ""
    return ".".join([*parts, "__init__"])


# ---------------------------------------------------------------------------------------------------------- fingerprints


def _sha(data: str | bytes) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()[:32]


def dependencies(root: Path, item: Item, items: list[Item]) -> dict[str, str]:
    """Source by module of all that a notebook imports from the course, directly or not; tools of the course left out.

    A hand-written module counts with the data files that lie beside it, given by their hashes.
    """
    built = {module: source for other in items for module, source in other.modules.items()}
    found: dict[str, str] = {}
    waiting = [(source, PACKAGE) for source in item.code]
    while waiting:
        for dotted, _ in _imports(*waiting.pop()):
            module = _resolve(root, dotted, built)
            if not module or module in found or module.removeprefix("course.") in TOOLS or module == "course.__init__":
                continue
            file = root.joinpath(PACKAGE, *module.split(".")).with_suffix(".py")
            found[module] = built[module] if module in built else file.read_text(encoding="utf-8")
            if module not in built and "." in module:
                data = (p for p in sorted(file.parent.iterdir()) if p.is_file() and not p.name.startswith("."))
                found |= {p.name: _sha(p.read_bytes()) for p in data if p.suffix not in (".py", ".pyc")}
            waiting.append((found[module], ".".join([PACKAGE, *module.split(".")[:-1]])))
    return found


def fingerprint(root: Path, item: Item, items: list[Item]) -> str:
    """A hash of everything that the outputs of a notebook depend on."""
    results = {
        path.name: _sha(path.read_bytes())
        for path in sorted((root / "notebooks" / "results").glob("*"))
        if path.is_file() and any(path.name in source for source in item.code)
    }
    if item.kind != "assignment" and (path := lecture_checks(root, item.name)).exists():
        results[path.name] = _sha(path.read_bytes())
    modules = {name: _sha(source) for name, source in dependencies(root, item, items).items()}
    return _sha(json.dumps([VERSION, item.code, modules, results], sort_keys=True))


def _cells_hash(notebook: NotebookNode) -> str:
    said = [[c.cell_type, c.get("id"), c.source, c.metadata] for c in notebook.cells]
    return _sha(json.dumps(said, sort_keys=True))


def _outputs_hash(notebook: NotebookNode) -> str:
    return _sha(
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
        elif _sha(written) == state.record.get("modules", {}).get(module):
            state.stale.append(f"{PACKAGE}/{module}.py is older than {item.source}: run `cs336lite build`")
        elif state.record:
            state.edited.append(f"{PACKAGE}/{module}.py was edited by hand: make the change in {item.source}")
        else:
            state.edited.append(
                f"{PACKAGE}/{module}.py is not what {item.source} says, and no notebook tells who wrote it"
            )
    return state


def shown_notebook(item: Item) -> NotebookNode:
    """A copy of the text's notebook, in which no cell prints a docstring that it ends in."""
    notebook = nbformat.from_dict(json.loads(json.dumps(item.text.notebook)))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = without_echo(cell.source)
    return notebook


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
        "modules": {module: _sha(source) for module, source in item.modules.items()},
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


# -------------------------------------------------------------------------------------------------------------- running


def stage(root: Path, items: list[Item], folder: Path) -> None:
    """Put a copy of the package into ``folder`` that holds every module as the texts say now."""
    shutil.copytree(root / PACKAGE, folder / PACKAGE, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for item in items:
        for module, source in item.modules.items():
            (folder / PACKAGE / f"{module}.py").write_text(source, encoding="utf-8")


def execute_item(item: Item, staged: Path, step: Callable[[], None] = lambda: None) -> NotebookNode:
    """The notebook of an item after running it from top to bottom, its outputs cleaned.

    Raises:
        CellFailed: a cell raised, took too long or ended the kernel: which one, what it said, the line of the text.
    """
    from jupyter_client import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = shown_notebook(item)
    item.notebook.parent.mkdir(parents=True, exist_ok=True)
    manager = AsyncKernelManager(kernel_name="python3")
    manager.kernel_spec.argv = [
        *(sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"),
        "--IPKernelApp.log_level=40",
    ]
    running: list[int] = [0]
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=CELL_SECONDS,
        record_timing=False,
        resources={"metadata": {"path": str(item.notebook.parent)}},
        on_cell_start=lambda cell, cell_index: running.__setitem__(0, cell_index),
        on_cell_executed=lambda cell, cell_index, execute_reply: step(),
    )
    try:
        client.execute(env=_environment(staged), cleanup_kc=True)
    except CellExecutionError as problem:
        line = re.search(r"Cell In\[\d+\], line (\d+)", re.sub(r"\x1b\[[0-9;]*m", "", problem.traceback))
        reason = f"{problem.ename}: {problem.evalue}".strip()
        raise _failed(item, running[0], reason, int(line[1]) if line else 1) from None
    except CellTimeoutError:
        raise _failed(item, running[0], f"took more than {CELL_SECONDS} s") from None
    except DeadKernelError:
        raise _failed(item, running[0], "the kernel died (out of memory?)") from None
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = clean_outputs(cell.outputs)
    return notebook


def _failed(item: Item, cell: int, reason: str, line: int = 1) -> CellFailed:
    shown = first_line(item.text.notebook.cells[cell].source)
    place = item.text.error(cell, f"in `{shown}`", line)
    return CellFailed(f"{place}: {reason}")


def _environment(staged: Path) -> dict[str, str]:
    """The kernel's environment: the staged package, and nothing of a person's that could change an output."""
    kept = {k: v for k, v in os.environ.items() if k not in ("JPY_SESSION_NAME", "PYTHONSTARTUP")}
    path = os.pathsep.join([str(staged), *filter(None, [os.environ.get("PYTHONPATH")])])
    return kept | {
        "PYTHONPATH": path,
        "CS336LITE_BUILD": "1",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": "0",
        "IPYTHONDIR": str(staged / ".ipython"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "COLUMNS": "100",
    }


_ADDRESS = re.compile(r"\b0x[0-9a-f]{8,16}\b(?=>)")
_WIDGETS = ("application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json")


def clean_outputs(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """The outputs worth keeping: no stderr, no widgets, no addresses; prints joined; images without metadata."""
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name != "stdout":
                continue
            text = _ADDRESS.sub("0x…", output.text)
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += text
            else:
                kept.append(nbformat.v4.new_output("stream", name="stdout", text=text))
            continue
        if any(mime in output.data for mime in _WIDGETS):
            continue
        output.data = NotebookNode({mime: _clean_data(mime, data) for mime, data in output.data.items()})
        kept.append(output)
    return kept


def _clean_data(mime: str, data: Any) -> Any:
    if mime == "image/png":
        return base64.b64encode(strip_png(base64.b64decode(data))).decode()
    return _ADDRESS.sub("0x…", data) if mime.startswith("text/") else data


def strip_png(image: bytes) -> bytes:
    """A PNG without its chunks of text, time and camera data, which name programs and dates."""
    signature, position, kept = image[:8], 8, []
    while position + 12 <= len(image):
        (length,) = struct.unpack(">I", image[position : position + 4])
        chunk = image[position : position + 12 + length]
        if chunk[4:8] not in (b"tEXt", b"zTXt", b"iTXt", b"tIME", b"eXIf"):
            kept.append(chunk)
        position += len(chunk)
    return signature + b"".join(kept)


def _comparable(cell: NotebookNode) -> list[Any]:
    """What of a cell's outputs must be the same in every run."""
    kept: list[Any] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            kept.append(output.text)
        else:
            kept.append({mime: data for mime, data in output.get("data", {}).items() if not mime.startswith("image/")})
    return kept


def differences(item: Item, before: NotebookNode, after: NotebookNode) -> list[str]:
    """One message for each code cell whose text output differs between two runs; timings and images are not compared."""
    found = []
    for i, (old, new) in enumerate(zip(before.cells, after.cells)):
        if new.cell_type != "code" or "timing" in new.metadata.get("tags", []):
            continue
        was, now = (json.dumps(_comparable(cell), ensure_ascii=False, sort_keys=True) for cell in (old, new))
        if was != now:
            at = next((k for k, (a, b) in enumerate(zip(was, now)) if a != b), min(len(was), len(now)))
            start = max(at - 30, 0)
            place = item.text.error(i, f"the output of `{first_line(new.source)}` differs")
            found.append(f"{place}: it was …{was[start : at + 30]}…, now it is …{now[start : at + 30]}…")
    return found


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
    hidden = root / "assignments" / "hidden" / f"{item.name}.py"
    try:
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
