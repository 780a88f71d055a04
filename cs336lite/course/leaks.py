"""What no student may read, and a search for it in everything that is handed out or published."""

from __future__ import annotations

import ast
import html
import json
import re
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cs336lite.course.export import split_directive, text_modules
from cs336lite.course.paths import CourseError
from cs336lite.course.plan import PACKAGE, Item, plan
from cs336lite.course.regions import skeleton, solution_lines, solved

__all__ = ["leaks", "secrets"]

ROOT_FILES = ("pyproject.toml", "Makefile", "environment.yml", "requirements.lock", "LICENSE")
TOP = tuple(
    f"{name}.py" for name in "__init__ collectives content gloo installed keys runs scratch slots sources".split()
)
"""The modules of the package that are written by hand."""
TOOL_FOLDERS = ("cli", "course")
"""The folders of the package that an edition holds."""
INSTRUCTOR_TOOLS = ("new.py", "templates")
"""What of `course` no edition holds."""

TRIVIAL = 10
SHORT_STRING = 12
BY_CHANCE = 20

FORBIDDEN = frozenset(
    (
        *("text", "source", "hidden", "grading", "teaching", "tests", "benchmarks"),
        *("submitted", "autograded", "feedback", "exchange", "verdicts", "backups"),
        *(".secret", ".git", "gradebook.db", *INSTRUCTOR_TOOLS),
    )
)
"""Names of files and folders that no edition holds."""


def leaks(root: Path, edition: Path, items: Sequence[Item] | None = None, *, rendered: bool = False) -> list[str]:
    """Where an edition (a folder, a .zip or a tar archive) shows an answer: one line for each file and secret.

    ``rendered``: it is a folder of web pages, on which public text has lost its marks of Markdown.

    Searched for are the secrets of `secrets`, each with its white space removed, anywhere in a file with its white
    space removed; in notebooks, in all sources, outputs and attachments as a reader sees them; in Python code, in the
    values of string literals, too.
    """
    items = items or plan(root)
    wanted, begun = secrets(root, items, rendered=rendered), {}
    for secret in wanted:
        begun.setdefault(secret[:TRIVIAL], []).append(secret)
    found = bodies(root, items)
    for name, data in _files(Path(edition)):
        parts = set(Path(name).parts)
        if parts & FORBIDDEN or name.endswith(".unlock.py"):
            found.append(f"{name}: no edition holds such a file")
        shown = "\n".join(map(_squeeze, _readings(name, data)))  # no secret holds white space
        beginnings = begun.keys() & {shown[i : i + TRIVIAL] for i in range(len(shown))}  # few of many thousands
        leaked = {secret for beginning in beginnings for secret in begun[beginning] if secret in shown}
        found += [f"{name}: {where}" for secret, where in wanted.items() if secret in leaked]
    return found


def secrets(root: Path, items: Sequence[Item] | None = None, *, rendered: bool = False) -> dict[str, str]:
    """What no edition may show, white space removed, and where each comes from.

    These are the lines between solution markers in the assignments' texts, the lines of the modules built from them,
    the lines of the hidden checks, the course's secret seeds, and the string literals of all these. Not counted is

    - a line with fewer than 10 characters that are not white space (``else:``, ``return``), and a string with fewer
      than 12 characters;
    - what stands as well where every student may read it: outside the solutions of the assignments' texts, in the
      public checks, in the texts of lectures, or in the course's own tools;
    - ``rendered``: what is so short that a page of prose has it by chance, fewer than 20 such characters.
    """
    texts = [item for item in items or plan(root) if item.kind == "assignment"]
    public = "\n".join(_public(root, texts))
    if rendered:
        public += "\n" + re.sub(r"\[([^]\[]*)\]\([^)]*\)|[`*|]", r"\1", public)
    allowed = _squeeze(public) + "\n" + "\n".join(_squeeze(s) for s in _strings(public))
    beginnings = {allowed[i : i + TRIVIAL] for i in range(len(allowed))}
    found: dict[str, str] = {}

    def add(line: str, where: str, least: int) -> None:
        squeezed = _squeeze(line)
        if len(squeezed) >= max(least, BY_CHANCE * rendered) and (
            squeezed[:TRIVIAL] not in beginnings or squeezed not in allowed
        ):
            found.setdefault(squeezed, where)

    for item in texts:
        for number, line in solution_lines(item.text.path.read_text(encoding="utf-8")):
            add(line, f"a line of a solution, {item.source}:{number}: {line.strip()}", TRIVIAL)
        for cell in item.text.notebook.cells:
            if cell.metadata.get("nbgrader", {}).get("solution"):
                for string in _strings(solved(cell.source)):
                    add(string, f"a string of a solution in {item.source}: {string.strip()!r}", SHORT_STRING)
        for module, source in item.modules.items():
            for number, line in enumerate(source.split("\n")[1:], 2):
                add(line, f"a line of the reference, {PACKAGE}/{module}.py:{number}: {line.strip()}", TRIVIAL)
    hidden = root / "assignments" / "hidden"
    for path in sorted(hidden.rglob("*.py")):
        source, name = path.read_text(encoding="utf-8"), path.relative_to(hidden).as_posix()
        for number, line in enumerate(source.split("\n"), 1):
            add(line, f"a line of the hidden checks, {name}:{number}: {line.strip()}", TRIVIAL)
        for string in _strings(source):
            add(string, f"a string of the hidden checks {name}: {string.strip()!r}", SHORT_STRING)
    for path in sorted((root / "assignments" / ".secret").rglob("*")):
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
                add(line, f"a secret of the course, {path.name}", TRIVIAL)
    return found


def bodies(root: Path, items: Sequence[Item]) -> list[str]:
    """Where a lecture's text or a tool of the course repeats three lines in a row of a solution.

    Such lines would count as public, so they are looked for in the full repository rather than in an edition.
    """
    assignments = [item for item in items if item.kind == "assignment"]
    given = _squeeze("\n".join(skeleton(c.source) for item in assignments for c in item.text.notebook.cells))
    public = {
        item.source: _squeeze("\n".join(cell.source for cell in item.text.notebook.cells))
        for item in items
        if item.kind != "assignment"
    }
    tools = [path for folder in TOOL_FOLDERS for path in (root / PACKAGE / folder).glob("*.py")]
    tools += filter(Path.exists, (root / PACKAGE / name for name in TOP))
    for path in sorted(tools):
        if path.name not in INSTRUCTOR_TOOLS:
            public[path.relative_to(root).as_posix()] = _squeeze(path.read_text(encoding="utf-8"))
    found = []
    for item in assignments:
        lines = list(solution_lines(item.text.path.read_text(encoding="utf-8")))
        lines = [(number, _squeeze(line)) for number, line in lines if line.strip()]
        for (first, a), (_, b), (last, c) in zip(lines, lines[1:], lines[2:]):
            run = a + b + c
            if min(len(a), len(b), len(c)) < 4 or len(run) < 4 * TRIVIAL or run in given:
                continue
            found += [
                f"{name} repeats lines {first} to {last} of {item.source}"
                for name, text in public.items()
                if run in text
            ]
    return found


def _public(root: Path, assignments: list[Item]) -> Iterator[str]:
    """Everything that every student may read, as it stands in the full repository."""
    for item in assignments:
        for cell in item.text.notebook.cells:
            yield skeleton(cell.source)
            yield split_directive(skeleton(cell.source))[2]
        yield from text_modules(item.text, item.source, stub=item.name).values()
    folders = [root / "assignments" / "public", *(root / "notebooks" / name for name in ("text", "checks"))]
    folders += [root / PACKAGE / name for name in TOOL_FOLDERS]
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".txt", ".json") and path.name not in INSTRUCTOR_TOOLS:
                yield path.read_text(encoding="utf-8")
    for path in [*(root / PACKAGE / name for name in TOP), *(root / name for name in ROOT_FILES)]:
        if path.exists():
            yield path.read_text(encoding="utf-8")


def _squeeze(text: str) -> str:
    return "".join(text.split())


def _strings(source: str) -> set[str]:
    """The values of string literals in code, f-strings' fixed parts among them; nothing when it is not Python."""
    if "'" not in source and '"' not in source:  # most of a notebook's strings; to parse them takes seconds
        return set()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return set()
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def _files(edition: Path) -> Iterator[tuple[str, bytes]]:
    """(path inside the edition, content) of every file of a folder or an archive."""
    if edition.is_dir():
        for path in sorted(edition.rglob("*")):
            if path.is_file():
                yield path.relative_to(edition).as_posix(), path.read_bytes()
    elif zipfile.is_zipfile(edition):
        with zipfile.ZipFile(edition) as archive:
            for name in archive.namelist():
                yield name, archive.read(name)
    elif edition.exists() and tarfile.is_tarfile(edition):
        with tarfile.open(edition) as archive:
            for member in archive.getmembers():
                if member.isfile():
                    yield member.name, archive.extractfile(member).read()
    else:
        raise CourseError(f"{edition} is neither a folder nor a .zip or tar archive")


def _readings(name: str, data: bytes) -> Iterator[str]:
    """A file's text in every form in which a reader may meet it."""
    text = data.decode("utf-8", errors="replace")
    yield text
    if name.endswith(".ipynb"):
        try:
            pieces = list(_json_texts(json.loads(text)))
        except ValueError:
            return
        for piece in pieces:
            yield piece
            if "&" in piece:
                yield html.unescape(piece)
            if "<" in piece:
                yield html.unescape(re.sub(r"<[^>]*>", "", piece))
            yield "\0".join(sorted(_strings(piece)))
    elif name.endswith(".py"):
        yield "\0".join(sorted(_strings(text)))
    elif name.endswith(".html"):
        yield html.unescape(re.sub(r"<[^>]*>", "", text))


def _json_texts(value: Any) -> Iterator[str]:
    """All strings in a JSON value; a list of strings, as notebooks write lines, is one text. Images are left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        if value and all(isinstance(part, str) for part in value):
            yield "".join(value)
        else:
            for part in value:
                yield from _json_texts(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            if not key.startswith("image/"):
                yield from _json_texts(part)
