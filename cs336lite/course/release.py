"""``cs336lite release DIR``: the student edition, which holds everything but the answers.

What goes in is listed here, so that nothing leaks by being forgotten; and before an edition is handed out, every file
of it is searched for every line and string of the solutions and of the hidden checks (`leaks`).
"""

from __future__ import annotations

import ast
import html
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from cs336lite import scratch
from cs336lite.course import manifest
from cs336lite.course.border import plain
from cs336lite.course.build import PACKAGE, Item, arrange, build, plan, read_items
from cs336lite.course.edition_readme import STUDY, readme
from cs336lite.course.export import split_directive, text_modules
from cs336lite.course.form import is_predict
from cs336lite.course.handin import HandIn
from cs336lite.course.paths import (
    CourseError,
    assignment_name,
    is_student_edition,
    original,
    write_atomic,
)
from cs336lite.course.ready import kept_outputs, outputs_file
from cs336lite.course.reset import pristine
from cs336lite.course.text import CODE_STUB, skeleton, solution_lines, solved

ROOT_FILES = ("pyproject.toml", "Makefile", "environment.yml", "requirements.lock", "LICENSE")
TOP = ("__init__.py", "cli.py", "keys.py", "runs.py", "scratch.py", "sources.py")
"""The modules of the package that are written by hand."""
INSTRUCTOR_TOOLS = ("demo.py",)
INSTRUCTOR_LINES = r"(?s)# >>> not in the student edition\n.*?# <<< not in the student edition\n"
TRIVIAL = 10
SHORT_STRING = 12


def release(
    root: Path,
    destination: Path,
    *,
    archive: bool = False,
    only: Iterable[str] | None = None,
    hand_in: HandIn | None = None,
) -> Path:
    """Write the student edition to a new or empty folder; returns the folder, or the .zip file written with it.

    Args:
        only: the assignments that go in, as "a1_bpe" or "a1"; by default all. Of the others there are stubs.
        hand_in: how students hand in; None where nbgrader's exchange is not used.

    Raises:
        CourseError: the folder holds something, the course is not built, or the edition would hold an answer.
    """
    if is_student_edition(root):
        raise CourseError("this is a student edition; editions are released from the full repository")
    chosen = None if not only else {assignment_name(root, name) for name in only}
    destination = Path(destination).resolve()
    if not destination.name or plain(destination.name) != destination.name:
        raise CourseError(f"{plain(destination)} is no name for a new folder; nothing was written")
    zipped = destination.with_name(f"{destination.name}.zip")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise CourseError(
            f"{destination} holds something already: name a new folder; nothing was written. "
            "(Students bring an edition they work in up to a new one with `cs336lite update`)"
        )
    if archive and zipped.exists():
        raise CourseError(f"{zipped} exists already: move it or name another folder; nothing was written")
    read = read_items(root)
    behind = [report for report in build(root, check=True, progress=False, read=read) if not report.ok]
    if behind:
        raise CourseError("the course is not in step: run `cs336lite build` first\n" + "\n".join(map(str, behind)))
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CourseError(f"{destination.parent} cannot be made: {error.strerror}; nothing was written") from None
    if not os.access(destination.parent, os.W_OK):
        raise CourseError(f"nothing can be written into {destination.parent}; nothing was written")
    scratch.sweep(destination.parent)
    with scratch.Scratch("release", destination.parent) as temporary:
        edition = temporary / "edition"
        items = arrange(root, read[0])
        _write_edition(root, items, edition, chosen, hand_in)
        if found := leaks(root, edition, items):
            raise CourseError(
                "not released: the edition would show answers\n" + "\n".join(f"  {line}" for line in found)
            )
        _import_all(edition)
        if archive:
            _zip(edition, temporary / "edition.zip", destination.name)
            os.replace(temporary / "edition.zip", zipped)
        if destination.exists():
            destination.rmdir()
        os.replace(edition, destination)
    return zipped if archive else destination


def write_study(root: Path, folder: Path) -> None:
    """Write a self-learner's own copy of the course into a new folder: an edition that uses the clone's environment.

    Notebooks are taken as git has them, whatever the reader has run or changed in the clone.

    Raises:
        CourseError: a text of the course cannot be read.
    """
    _write_edition(root, plan(root), folder, None, None, study=True)


def _write_edition(
    root: Path,
    items: list[Item],
    edition: Path,
    chosen: set[str] | None,
    hand_in: HandIn | None,
    *,
    study: bool = False,
) -> None:
    read = (lambda path: pristine(root, path)) if study else Path.read_bytes
    lectures = [item for item in items if item.kind != "assignment"]
    assignments = [item for item in items if item.kind == "assignment"]
    package = edition / PACKAGE
    shutil.copytree(
        root / PACKAGE / "course", package / "course", ignore=shutil.ignore_patterns("__pycache__", *INSTRUCTOR_TOOLS)
    )
    for name in TOP:
        if (root / PACKAGE / name).exists():
            shutil.copy(root / PACKAGE / name, package / name)
    for item in lectures:
        shown = item.notebook.relative_to(root).as_posix()
        for module, source in item.modules.items():
            header = f"# Built in {shown}: read it there.\n"
            write_atomic(package / f"{module}.py", header + source.partition("\n")[2])
        notebook = nbformat.reads(read(item.notebook).decode(), as_version=4)
        if outputs := kept_outputs(notebook):
            write_atomic(outputs_file(edition, item.name), json.dumps(outputs, indent=0, ensure_ascii=False) + "\n")
        for path in (edition / shown, original(edition, item.name)):
            write_atomic(path, _notebook(notebook, predict=True))
    for path in sorted((root / "notebooks" / "checks").glob("*.py")):
        write_atomic(edition / "notebooks" / "checks" / path.name, path.read_bytes())
    for path in sorted((root / "notebooks" / "results").glob("*.json")):
        write_atomic(edition / "notebooks" / "results" / path.name, path.read_bytes())
    for item in assignments:
        for module, source in text_modules(item.text, item.source, stub=item.name).items():
            write_atomic(package / f"{module}.py", source)
    assignments = [item for item in assignments if chosen is None or item.name in chosen]
    for name, folder in generate(root, [item.name for item in assignments], edition / "assignments", read).items():
        path = folder / f"{name}.ipynb"
        given = _notebook(nbformat.read(path, as_version=4))
        write_atomic(path, given)
        write_atomic(original(edition, name), given)
    for item in assignments:
        public = root / "assignments" / "public" / f"{item.name}.py"
        if not public.exists():
            raise CourseError(f"{item.name} has no public checks: write {public}")
        write_atomic(edition / "assignments" / "public" / public.name, public.read_bytes())
    for name in ROOT_FILES:
        if (root / name).exists() and not study:
            text = (root / name).read_text(encoding="utf-8")
            write_atomic(edition / name, re.sub(INSTRUCTOR_LINES, "", text))
    for name, text in (hand_in.files() if hand_in else {}).items():
        write_atomic(edition / name, text)
    names = [item.name for item in lectures], [item.name for item in assignments]
    write_atomic(edition / "README.md", STUDY if study else readme(*names, hand_in))
    version = re.search(r'__version__ = "(.+?)"', (root / PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    manifest.write(root, edition, version[1] if version else "unknown")


def _notebook(notebook: NotebookNode, *, predict: bool = False) -> str:
    """A notebook without what only the build needs to know, and without the answers to what its reader shall predict.

    With ``predict`` no output stands below the first prediction: what a later cell shows would tell it as well.
    """
    first = next((i for i, cell in enumerate(notebook.cells) if is_predict(cell)), len(notebook.cells))
    for cell in notebook.cells[first:] if predict else []:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    for key in ("built", "text"):
        notebook.metadata.get("cs336lite", {}).pop(key, None)
    return nbformat.writes(notebook, version=4).rstrip("\n") + "\n"


def generate(
    root: Path, names: Iterable[str], destination: Path, read: Callable[[Path], bytes] = Path.read_bytes
) -> dict[str, Path]:
    """Released assignments, as ``nbgrader generate_assignment`` writes them, but with no gradebook touched.

    ``read`` gives the content of an assignment's source notebook.
    """
    from nbgrader.converters import GenerateAssignment
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import Config

    written = {}
    with scratch.Scratch("release") as temporary:
        config = Config()
        config.CourseDirectory.root = str(temporary)
        config.CourseDirectory.db_url = "sqlite://"
        config.ClearSolutions.code_stub = {"python": CODE_STUB}
        config.SaveCells.enabled = False
        for name in names:
            source = root / "assignments" / "source" / name
            shutil.copytree(source, temporary / "source" / name)
            (temporary / "source" / name / f"{name}.ipynb").write_bytes(read(source / f"{name}.ipynb"))
            config.CourseDirectory.assignment_id = name
            converter = GenerateAssignment(coursedir=CourseDirectory(config=config), no_database=True, config=config)
            converter.log.setLevel("CRITICAL")
            converter.start()
            written[name] = destination / name
            shutil.copytree(temporary / "release" / name, written[name])
    return written


def _import_all(edition: Path) -> None:
    """Import every module of an edition in a process of its own: a stub that cannot be imported would stop lectures."""
    names = sorted(f"{PACKAGE}.{path.stem}" for path in (edition / PACKAGE).glob("*.py") if path.stem != "__init__")
    names = [name for name in names if name != f"{PACKAGE}.cli"]
    done = subprocess.run(
        [sys.executable, "-c", f"import {', '.join(names)}" if names else ""],
        cwd=edition,
        env=os.environ | {"PYTHONPATH": str(edition), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise CourseError("not released: a module of the edition cannot be imported\n" + done.stderr.strip())


def _zip(folder: Path, path: Path, top: str) -> None:
    """The same bytes for the same files, whatever their dates."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            info = zipfile.ZipInfo(f"{top}/{file.relative_to(folder).as_posix()}", date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, file.read_bytes())


# ---------------------------------------------------------------------------------------------------------------- leaks

FORBIDDEN = frozenset(
    (
        *("text", "source", "hidden", "grading", "teaching", "tests", "benchmarks"),
        *("submitted", "autograded", "feedback", "exchange", "verdicts", "backups"),
        *(".secret", ".git", "gradebook.db", *INSTRUCTOR_TOOLS),
    )
)
"""Names of files and folders that no edition holds."""


def leaks(root: Path, edition: Path, items: list[Item] | None = None) -> list[str]:
    """Where an edition (a folder, a .zip or a tar archive) shows an answer: one line for each file and secret.

    Searched for are the secrets of `secrets`, each with its white space removed, anywhere in a file with its white
    space removed; in notebooks, in all sources, outputs and attachments as a reader sees them; in Python code, in the
    values of string literals, too.
    """
    items = items or plan(root)
    wanted, begun = secrets(root, items), {}
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


def secrets(root: Path, items: list[Item] | None = None) -> dict[str, str]:
    """What no edition may show, white space removed, and where each comes from.

    These are the lines between solution markers in the assignments' texts, the lines of the modules built from them,
    the lines of the hidden checks, the course's secret seeds, and the string literals of all these. Not counted is

    - a line with fewer than 10 characters that are not white space (``else:``, ``return``), and a string with fewer
      than 12 characters;
    - what stands as well where every student may read it: outside the solutions of the assignments' texts, in the
      public checks, in the texts of lectures, or in the course's own tools.
    """
    texts = [item for item in items or plan(root) if item.kind == "assignment"]
    public = "\n".join(_public(root, texts))
    allowed = _squeeze(public) + "\n" + "\n".join(_squeeze(s) for s in _strings(public))
    beginnings = {allowed[i : i + TRIVIAL] for i in range(len(allowed))}
    found: dict[str, str] = {}

    def add(line: str, where: str, least: int) -> None:
        squeezed = _squeeze(line)
        if len(squeezed) >= least and (squeezed[:TRIVIAL] not in beginnings or squeezed not in allowed):
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
    for path in sorted((root / "assignments" / "hidden").glob("*.py")):
        source = path.read_text(encoding="utf-8")
        for number, line in enumerate(source.split("\n"), 1):
            add(line, f"a line of the hidden checks, {path.name}:{number}: {line.strip()}", TRIVIAL)
        for string in _strings(source):
            add(string, f"a string of the hidden checks {path.name}: {string.strip()!r}", SHORT_STRING)
    for path in sorted((root / "assignments" / ".secret").rglob("*")):
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
                add(line, f"a secret of the course, {path.name}", TRIVIAL)
    return found


def bodies(root: Path, items: list[Item]) -> list[str]:
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
    tools = [*(root / PACKAGE / "course").glob("*.py"), *filter(Path.exists, (root / PACKAGE / name for name in TOP))]
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
    folders.append(root / PACKAGE / "course")
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
