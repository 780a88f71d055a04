"""What there is to build, in which order, and what each text depends on."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from cs336lite.course import form
from cs336lite.course.export import BUILT_LINE, defined_names, text_modules
from cs336lite.course.papers import link_papers
from cs336lite.course.paths import CourseError, is_appendix, way
from cs336lite.course.spec import load_spec
from cs336lite.course.text import Text, read_text

VERSION = 1
"""Part of every fingerprint: raise it when the builder's own changes ask for a rebuild of everything."""

PACKAGE = "cs336lite"
TOOLS = frozenset(
    "build check edition_readme execute export exported form hint lab last_cell leaks new papers paths plan points progress "
    "ready reference regions release reset saved spec status student study text unlock have".split()
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


def sha(data: str | bytes) -> str:
    """The first half of a SHA-256, in hexadecimal."""
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
                found |= {p.name: sha(p.read_bytes()) for p in data if p.suffix not in (".py", ".pyc")}
            waiting.append((found[module], ".".join([PACKAGE, *module.split(".")[:-1]])))
    return found


def fingerprint(root: Path, item: Item, items: list[Item]) -> str:
    """A hash of everything that the outputs of a notebook depend on."""
    results = {
        path.name: sha(path.read_bytes())
        for path in sorted((root / "notebooks" / "results").glob("*"))
        if path.is_file() and any(path.name in source for source in item.code)
    }
    if item.kind != "assignment" and (path := lecture_checks(root, item.name)).exists():
        results[path.name] = sha(path.read_bytes())
    modules = {name: sha(source) for name, source in dependencies(root, item, items).items()}
    return sha(json.dumps([VERSION, item.code, modules, results], sort_keys=True))
