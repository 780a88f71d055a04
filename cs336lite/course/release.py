"""``cs336lite release DIR``: the student edition, which holds everything but the answers.

What goes in is listed here, so that nothing leaks by being forgotten; and before an edition is handed out, every file
of it is searched for every line and string of the solutions and of the hidden checks (`leaks`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from cs336lite import scratch
from cs336lite.course import manifest
from cs336lite.course.border import plain
from cs336lite.course.build import build
from cs336lite.course.edition_readme import STUDY, readme
from cs336lite.course.export import text_modules
from cs336lite.course.form import is_predict
from cs336lite.course.handin import HandIn
from cs336lite.course.leaks import INSTRUCTOR_TOOLS, ROOT_FILES, TOOL_FOLDERS, TOP, leaks
from cs336lite.course.module import in_edition
from cs336lite.course.paths import (
    CourseError,
    assignment_name,
    is_student_edition,
    original,
    write_atomic,
)
from cs336lite.course.plan import PACKAGE, Item, arrange, plan, read_items
from cs336lite.course.ready import kept_outputs, outputs_file
from cs336lite.course.regions import CODE_STUB
from cs336lite.course.reset import pristine

INSTRUCTOR_LINES = r"(?s)# >>> not in the student edition\n.*?# <<< not in the student edition\n"


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
    left_out = shutil.ignore_patterns("__pycache__", *INSTRUCTOR_TOOLS)
    for name in filter(lambda name: (root / PACKAGE / name).exists(), TOOL_FOLDERS):
        shutil.copytree(root / PACKAGE / name, package / name, ignore=left_out)
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
            write_atomic(
                temporary / "source" / name / f"{name}.ipynb", in_edition(read(source / f"{name}.ipynb").decode())
            )
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
