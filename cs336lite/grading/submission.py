"""A submitted file, whatever state it is in: the cells to judge, a clean notebook to show, and what was wrong.

A file is first reduced to what is looked at: kinds, sources and names of cells. These are laid against the *structure*,
the solution and grade cells that were released: what the student may not change is restored, what is missing is added.
Nothing a file contains can raise, and no link is followed. Reading itself is done by `read_file`, in a process with limits
(see `limited`): what it gives has at most `MAX_SOURCE` characters of code and `MAX_TEXT` of anything else.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cs336lite.course.border import plain
from cs336lite.course.given import parts_of_script
from cs336lite.course.module import bare
from cs336lite.course.paths import CourseError
from cs336lite.grading.handed import PAINTED, has_parts
from cs336lite.grading.limited import Exceeded, Failed, Limits, Lost, Shared
from cs336lite.grading.reader import MARKER
from cs336lite.grading.structure import GIVEN, SubmittedCell, SubmittedNotebook, kernel_language
from cs336lite.grading.structure import NUMBER as NUMBER
from cs336lite.grading.structure import StructureCell as StructureCell
from cs336lite.grading.structure import normalise as normalise
from cs336lite.grading.structure import structure_of_gradebook as structure_of_gradebook
from cs336lite.grading.structure import structure_of_source as structure_of_source

if TYPE_CHECKING:
    from nbformat import NotebookNode

MAX_FILE = 128 << 20  # bytes; outputs are dropped, but they have to be read
MAX_SOURCE = 1 << 20  # characters in all cells together
MAX_CELLS = 5000
MAX_PARTS = 3_000_000  # values in a file's JSON, about: each takes memory, however few bytes it has
MAX_TEXT = 1 << 20  # characters of markdown in all cells together; what is beyond is cut
MAX_NAME = 200  # characters of a cell's name
KINDS = ("code", "markdown", "raw")


@dataclass(frozen=True)
class Submission:
    """What is judged: ``cells`` are ``(label, source)``; ``name`` is the module's ``__name__``.

    A label is what a message calls a cell: its exercise, or its number in the notebook as it was handed in. That of a plain
    file is empty, its lines are told alone, and it may be in several parts. Code that is as the course gave it is labelled ``given 7``, and no message names
    it: it fails only for what happens around it.

    ``problem`` says why nothing can be judged; ``notes`` say what was put right without a loss of points.
    """

    cells: tuple[tuple[str, str], ...] = ()
    name: str = "__main__"
    problem: str = ""
    notes: tuple[str, ...] = field(default=())

    def digest(self) -> str:
        return hashlib.sha256(json.dumps([self.cells, self.name, self.problem]).encode()).hexdigest()


READER = Shared(Limits(step_seconds=20, call_seconds=20))
"""The process that reads files; one for each process that asks, started at the first file."""


def read_submission(
    path: Path, structure: Iterable[StructureCell] = (), remark: Callable[[SubmittedNotebook], str] = lambda _: ""
) -> Submission:
    """The submission in an ``.ipynb`` or a plain ``.py``, noted with a ``remark`` on it. Raises CourseError, see `read_notebook`."""
    notebook, problem = read_notebook(path)
    if problem:
        return Submission(problem=problem)
    if is_script(path):
        submission = submission_of_file(notebook.cells[0].source, structure)
    else:
        submission = submission_of(*normalise(notebook, structure))
    note = remark(notebook)
    return replace(submission, notes=(note, *submission.notes)) if note else submission


def is_script(path: Path) -> bool:
    return path.name.lower().endswith((".py", ".py.txt"))


def submission_of_file(source: str, structure: Iterable[StructureCell] = ()) -> Submission:
    """The submission in a plain file: an exported notebook, or a module that is imported, as CS336's own tests do.

    What it holds of the released notebook as that was given becomes cells of its own, on the lines on which it stands.
    """
    given = {bare(cell.source) for cell in structure if cell.cell_type == "code" and (not cell.name or cell.locked)}
    parts = parts_of_script(source, given) if given else []
    labels = [f"given {len(text) - len(text.lstrip(chr(10))) + 1}" if is_given else "" for is_given, text in parts]
    cells = tuple((label, text) for label, (_, text) in zip(labels, parts))
    return Submission(cells if "" in labels else (("", source),), "__main__" if MARKER.search(source) else "submission")


def submission_of(clean: NotebookNode, notes: Iterable[str] = ()) -> Submission:
    """The submission in a normalised notebook: its code cells, less those that the course locked."""
    cells = []
    for cell in clean.cells:
        if cell.cell_type == "code" and not cell.metadata.get("nbgrader", {}).get("locked", False):
            cells.append((label_of(cell), cell.source))
    if sum(len(source) for _, source in cells) > MAX_SOURCE:
        return Submission(problem=f"the code cells hold more than {MAX_SOURCE} characters", notes=tuple(notes))
    return Submission(tuple(cells), notes=tuple(notes))


def label_of(cell: NotebookNode) -> str:
    """What a message calls a cell of a normalised notebook; see `Submission`."""
    known, number = cell.metadata.get("nbgrader", {}), str(cell.metadata.get(NUMBER, ""))
    if "grade_id" in known:
        return f"`{known['grade_id']}`"
    return f"given {number}" if cell.metadata.get(GIVEN) else number


NO_FILE = (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.ENODEV, errno.ENOTDIR, errno.EISDIR)
"""What opening says of a link, a socket and the like, which somebody handed in in place of a file."""


def read_text(path: Path) -> tuple[str, str]:
    """A file's text and what is wrong with it (one of the two is empty).

    Raises CourseError when the file is there and this user may not read it, or the disk does not give it: that is no fault
    of the file's.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return "", "the file is missing"
    except OSError as error:
        if error.errno in NO_FILE:
            return "", "the file is no regular file"
        raise unreadable(path, error) from None
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            return "", "the file is no regular file"
        with open(handle, "rb", closefd=False) as file:
            data = file.read(min(about.st_size, MAX_FILE) + 1)
    except OSError as error:
        raise unreadable(path, error) from None
    finally:
        os.close(handle)
    if len(data) > MAX_FILE:
        return "", f"the file is larger than {MAX_FILE >> 20} MiB: clear its outputs and hand it in again"
    if not data.strip():
        return "", "the file is empty"
    try:
        return data.decode("utf-8-sig"), ""
    except UnicodeDecodeError as error:
        return "", f"the file is not UTF-8 text (byte {error.start})"


def unreadable(path: Path, error: OSError) -> CourseError:
    return CourseError(
        f"{plain(path.name, 60)} cannot be read ({error.strerror}): make the file readable for whoever grades, and grade again"
    )


def read_notebook(path: Path, parts: bool = False) -> tuple[SubmittedNotebook, str]:
    """A notebook and what is wrong with it: with a problem, the notebook has no cells. A ``.py`` is one cell.

    With ``parts``, its cells come with their outputs and pictures, see `handed`.

    Raises CourseError when the file may not be read, or the process that reads was killed several times.
    """
    try:
        found = READER.call(f"{__name__}:read_file", str(path))
    except Exceeded as limit:
        return SubmittedNotebook(), f"the file cannot be read: it takes {limit}"
    except (Lost, Failed) as error:
        raise CourseError(f"{path.name} could not be read: {error}") from None
    notebook = SubmittedNotebook.from_metadata(found)
    return with_parts(notebook, path) if parts and found["parts"] else notebook, found["problem"]


def with_parts(notebook: SubmittedNotebook, path: Path) -> SubmittedNotebook:
    """A notebook with its outputs and pictures. Raises CourseError as `read_notebook` does."""
    try:
        found = PAINTED.call("cs336lite.grading.handed:parts_of", str(path))
    except Exceeded as limit:
        return replace(notebook, unshown=f"its outputs and pictures are not shown: they take {limit}")
    except Failed:
        return replace(notebook, unshown="its outputs and pictures are not shown: they cannot be read")
    except Lost as error:
        raise CourseError(f"{path.name} could not be read: {error}") from None
    cells = list(notebook.cells)
    for number, outputs, pictures in found:
        if number < len(cells):
            cells[number] = replace(cells[number], outputs=outputs, pictures=pictures)
    return replace(notebook, cells=tuple(cells))


def read_file(name: str) -> dict[str, Any]:
    """What is looked at in a file, as plain values: ``cells``, ``language``, ``problem``, and whether there are ``parts``.

    Runs in a process with limits.
    """
    path = Path(name)
    parts = False
    if is_script(path):
        text, problem = read_text(path)
        problem = problem or (f"the file holds more than {MAX_SOURCE} characters" if len(text) > MAX_SOURCE else "")
        notebook = SubmittedNotebook((SubmittedCell("code", text, None),))
    else:
        data, problem = read_json(path)
        notebook, problem = (SubmittedNotebook(), problem) if problem else reduce(data)
        parts = not problem and any(has_parts(cell) for cell, _, _ in raw_cells(data) or ())
    return {**(SubmittedNotebook() if problem else notebook).as_metadata(), "problem": problem, "parts": parts}


def reduce(data: dict[str, Any]) -> tuple[SubmittedNotebook, str]:
    """What is looked at in a notebook's JSON, and what is wrong with it (one of the two is empty)."""
    raw = raw_cells(data)
    if raw is None:
        return SubmittedNotebook(), "the file is not a notebook (it has no list of cells)"
    if len(raw) > MAX_CELLS:
        return SubmittedNotebook(), f"the notebook has more than {MAX_CELLS} cells"
    kept, text, code = [], 0, 0
    for cell in cells_of(data) or ():
        if cell.cell_type == "code":
            code += len(cell.source)
        else:
            left = max(0, MAX_TEXT - text)
            text += len(cell.source)
            if len(cell.source) > left:
                cell = SubmittedCell(
                    cell.cell_type, f"{cell.source[:left]}\n\n(cut: the notebook has too much text)", cell.name
                )
        kept.append(cell)
    if code > MAX_SOURCE:
        return SubmittedNotebook(), f"the code cells hold more than {MAX_SOURCE} characters"
    if not any(cell.cell_type == "code" and cell.source.strip() for cell in kept):
        return SubmittedNotebook(), "the notebook has no code cells"
    return SubmittedNotebook(tuple(kept), kernel_language(data)), ""


def cells_of(data: dict[str, Any]) -> list[SubmittedCell] | None:
    """What is looked at in a notebook's JSON, of any format; None when it has no cells."""
    cells = raw_cells(data)
    if cells is None:
        return None
    return [SubmittedCell(kind, source_of(cell, old), grade_id(cell)) for cell, kind, old in cells]


def raw_cells(data: dict[str, Any]) -> list[tuple[dict[str, Any], str, bool]] | None:
    """The cells in a notebook's JSON, the kind of each, and whether it is of an old format; None when it has none.

    Older formats are read cell by cell, since to convert one is to believe it: a heading has a level and becomes as
    many signs.
    """
    cells = data.get("cells")
    if not isinstance(cells, list) and data.get("nbformat") in (1, 2, 3) and isinstance(data.get("worksheets"), list):
        sheets = [sheet.get("cells") for sheet in data["worksheets"] if isinstance(sheet, dict)]
        cells = [cell for sheet in sheets if isinstance(sheet, list) for cell in sheet]
    if not isinstance(cells, list):
        return None
    old = data.get("nbformat") in (1, 2, 3)
    found = ((cell, kind_of(cell, old), old) for cell in cells if isinstance(cell, dict))
    return [(cell, kind, old) for cell, kind, old in found if kind in KINDS]


def read_json(path: Path) -> tuple[dict[str, Any], str]:
    """The JSON object in a file and what is wrong with it (one of the two is empty)."""
    text, problem = read_text(path)
    if problem:
        return {}, problem
    if text.count(",") + text.count("[") + text.count("{") > MAX_PARTS:
        return {}, "the file holds too many values for a notebook: clear its outputs and hand it in again"
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f": {error.msg}, line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        return {}, f"the file is not a notebook (no JSON{where})"
    if not isinstance(notebook, dict):
        return {}, "the file is not a notebook (its JSON is no object)"
    return notebook, ""


def link_above(path: Path, root: Path) -> str:
    """What is wrong when a folder between ``root`` and a submitted file is a link; else empty."""
    for folder in path.relative_to(root).parents:
        if folder != Path(".") and (root / folder).is_symlink():
            return f"the folder {folder} is a link"
    return ""


OLD_KINDS = {"text": "markdown", "heading": "markdown", "html": "markdown"}


def kind_of(cell: dict[str, Any], old: bool = False) -> str:
    """``"code"``, ``"markdown"`` or whatever else a cell says it is; ``old``: in the words of formats 1 to 3."""
    kind = cell.get("cell_type")
    return "" if not isinstance(kind, str) else OLD_KINDS.get(kind, kind) if old else kind


def source_of(cell: dict[str, Any], old: bool = False) -> str:
    """A cell's source; an unusable one is empty. Notebooks on disk may hold it as a list of lines."""
    keys = ("input", "code", "source", "text") if old else ("source",)
    source = next((cell[key] for key in keys if key in cell), "")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    return source.encode("utf-8", "replace").decode() if isinstance(source, str) else ""


def grade_id(cell: dict[str, Any]) -> str | None:
    metadata = cell.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    name = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
    return name if isinstance(name, str) and len(name) <= MAX_NAME else None
