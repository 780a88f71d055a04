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
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cs336lite.course.border import plain
from cs336lite.course.paths import CourseError
from cs336lite.grading.handed import ATTACHED, PAINTED, PICTURES, attached_name, has_parts
from cs336lite.grading.limited import Exceeded, Failed, Limits, Lost, Shared
from cs336lite.grading.reader import MARKER

if TYPE_CHECKING:
    from nbformat import NotebookNode

MAX_FILE = 128 << 20  # bytes; outputs are dropped, but they have to be read
MAX_SOURCE = 1 << 20  # characters in all cells together
MAX_CELLS = 5000
MAX_PARTS = 3_000_000  # values in a file's JSON, about: each takes memory, however few bytes it has
MAX_TEXT = 1 << 20  # characters of markdown in all cells together; what is beyond is cut
MAX_NAME = 200  # characters of a cell's name
# what begins markup in markdown, a picture, or a link that leads elsewhere than to a web page
LIVELY = re.compile(r"<(?=[A-Za-z/!?])|!(?=\[)|\](?=\((?!https?://))|\](?=[\[:])")
NO_WORDS = re.compile(r"[^\w .,-]")  # in what a picture is called
KINDS = ("code", "markdown", "raw")
NUMBER = "cs336lite"  # the key of a cell's metadata that holds its number in the notebook as it was handed in


@dataclass(frozen=True)
class StructureCell:
    """A cell of the released notebook that nbgrader knows."""

    name: str
    cell_type: str
    source: str
    checksum: str | None
    locked: bool
    grade: bool
    solution: bool
    points: float

    def metadata(self) -> dict[str, Any]:
        kind = {"grade": self.grade, "solution": self.solution, "locked": self.locked, "task": False}
        meta = {"grade_id": self.name, "schema_version": 3, **kind, "cell_type": self.cell_type}
        if self.checksum is not None:
            meta["checksum"] = self.checksum
        if self.grade:
            meta["points"] = self.points
        return {"nbgrader": meta, "deletable": False, **({"editable": False} if self.locked else {})}


@dataclass(frozen=True)
class SubmittedCell:
    """A cell as it was handed in, reduced to what is looked at."""

    cell_type: str
    source: str
    name: str | None  # nbgrader's id
    outputs: list[dict[str, Any]] = field(default_factory=list)  # see `handed`, as the pictures of its text
    pictures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SubmittedNotebook:
    cells: tuple[SubmittedCell, ...] = ()
    language: str = "python"
    unshown: str = ""  # why its outputs are not shown

    @classmethod
    def from_metadata(cls, data: dict[str, Any]) -> SubmittedNotebook:
        """The notebook that `as_metadata` made plain."""
        cells = tuple(SubmittedCell(*cell) for cell in data.get("cells", ()))
        return cls(cells, data.get("language", "python"), data.get("unshown", ""))

    def as_metadata(self) -> dict[str, Any]:
        cells = [[c.cell_type, c.source, c.name, c.outputs, c.pictures] for c in self.cells]
        return {"cells": cells, "language": self.language, "unshown": self.unshown}


@dataclass(frozen=True)
class Submission:
    """What is judged: ``cells`` are ``(label, source)``; ``name`` is the module's ``__name__``.

    A label is what a message calls a cell: its exercise, or its number in the notebook as it was handed in. That of a plain
    file is empty: its lines are told alone.

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
        submission = submission_of_file(notebook.cells[0].source)
    else:
        submission = submission_of(*normalise(notebook, structure))
    note = remark(notebook)
    return replace(submission, notes=(note, *submission.notes)) if note else submission


def is_script(path: Path) -> bool:
    return path.name.lower().endswith((".py", ".py.txt"))


def submission_of_file(source: str) -> Submission:
    """The submission in a plain file: an exported notebook, or a module that is imported, as CS336's own tests do."""
    return Submission((("", source),), "__main__" if MARKER.search(source) else "submission")


def submission_of(clean: NotebookNode, notes: Iterable[str] = ()) -> Submission:
    """The submission in a normalised notebook: its code cells, less those that the course locked."""
    cells = []
    for cell in clean.cells:
        known = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and not known.get("locked", False):
            number = str(cell.metadata.get(NUMBER, ""))
            cells.append((f"`{known['grade_id']}`" if "grade_id" in known else number, cell.source))
    if sum(len(source) for _, source in cells) > MAX_SOURCE:
        return Submission(problem=f"the code cells hold more than {MAX_SOURCE} characters", notes=tuple(notes))
    return Submission(tuple(cells), notes=tuple(notes))


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


def normalise(notebook: SubmittedNotebook, structure: Iterable[StructureCell]) -> tuple[NotebookNode, list[str]]:
    """A notebook with the released structure and the student's code, and notes on what was put right.

    Locked cells are restored, the first copy of each kept. Of a solution cell that occurs several times, all copies
    run and the last one keeps the name. Missing cells are added after the cell that they followed.
    """
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook  # here: the processes that read need it not

    make_cell = {"code": new_code_cell, "markdown": new_markdown_cell}
    known = {cell.name: cell for cell in structure}
    last = {cell.name: index for index, cell in enumerate(notebook.cells)}
    # of copies, those that are still code count before those that were put aside as text
    last |= {
        c.name: i for i, c in enumerate(notebook.cells) if c.name in known and c.cell_type == known[c.name].cell_type
    }
    notes: dict[str, None] = {}  # in order, each once
    cells: list[tuple[str | None, Any]] = []
    placed = set()
    for index, cell in enumerate(notebook.cells):
        source, template = cell.source, known.get(cell.name)
        if template is not None and cell.cell_type != template.cell_type and last[cell.name] != index:
            template = None
        number = {NUMBER: index + 1}
        if template is None:
            if cell.cell_type in make_cell:  # a raw cell says nothing that is judged or shown
                cells.append((None, make_cell[cell.cell_type](**content(cell), metadata=number)))
            continue
        name, make = cell.name, make_cell[template.cell_type]
        if template.locked:
            if name in placed:
                notes[f"cell `{name}` occurs more than once: its first copy counts"] = None
                continue
            if source != template.source:
                notes[f"cell `{name}` is not yours to edit: it was restored"] = None
            source = template.source
        elif last[name] != index:
            notes[f"cell `{name}` occurs more than once: all copies were run, in order"] = None
            cells.append((None, make(**content(replace(cell, cell_type=template.cell_type)), metadata=number)))
            continue
        elif cell.cell_type != template.cell_type == "code":
            notes[f"cell `{name}` was {cell.cell_type}: it was made code again"] = None
        placed.add(name)
        shown = {"source": source} if template.locked else content(replace(cell, cell_type=template.cell_type))
        cells.append((name, make(**shown, metadata=template.metadata())))
    previous = None
    for name, template in known.items():
        if name not in placed:
            notes[f"cell `{name}` was missing: it was added"] = None
            source = template.source if template.locked else "# this cell was missing from the submission\n"
            position = next((i + 1 for i, (n, _) in enumerate(cells) if n == previous), 0) if previous else 0
            cells.insert(position, (name, make_cell[template.cell_type](source, metadata=template.metadata())))
        previous = name
    if notebook.language != "python":
        notes["the notebook names another kernel: it was judged as Python 3"] = None
    if notebook.unshown:
        notes[notebook.unshown] = None
    clean = new_notebook(
        cells=[cell for _, cell in cells],
        metadata={"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
    )
    for place, made in enumerate(clean.cells):
        made["id"] = f"cell-{place}"
    return clean, list(notes)


def content(cell: SubmittedCell) -> dict[str, Any]:
    """What a cell of a clean notebook is made of. In its text nothing is alive: formgrader shows an instructor the markdown
    of students as it is.

    A blank is put where a tag, a picture or a doubtful link would begin; mathematics is not changed by one. Pictures that
    are attached, and may be shown, get names of ours.
    """
    from nbformat import from_dict

    if cell.cell_type != "markdown":
        return {"source": cell.source, "outputs": [from_dict(output) for output in cell.outputs]}
    text, attachments, place = [], {}, 0
    for match in ATTACHED.finditer(cell.source) if cell.pictures else ():
        picture = cell.pictures.get(attached_name(match))
        text.append(LIVELY.sub(r"\g<0> ", cell.source[place : match.start()]))
        place = match.end()
        if isinstance(picture, list) and picture[0] in PICTURES:
            name = f"{len(attachments) + 1}.{picture[0].removeprefix('image/')}"
            attachments[name] = {picture[0]: picture[1]}
            text.append(f"![{re.sub(NO_WORDS, ' ', match['alt'] or 'picture')}](attachment:{name})")
        elif picture:
            text.append(LIVELY.sub(r"\g<0> ", f"({picture})"))
        else:
            text.append(LIVELY.sub(r"\g<0> ", match[0]))
    text.append(LIVELY.sub(r"\g<0> ", cell.source[place:]))
    return {"source": "".join(text), **({"attachments": from_dict(attachments)} if attachments else {})}


def kernel_language(notebook: dict[str, Any]) -> str:
    """The language a notebook says it is in; one that says nothing is Python."""
    metadata = notebook.get("metadata")
    kernel = metadata.get("kernelspec") if isinstance(metadata, dict) else None
    if not isinstance(kernel, dict):
        return "python"
    language, name = kernel.get("language"), kernel.get("name", "python3")
    if isinstance(language, str):
        return language.lower()
    return "python" if isinstance(name, str) and "python" in name.lower() else "other"


def structure_of_source(path: Path) -> list[StructureCell]:
    """The structure of a source notebook, for judging single files without a gradebook.

    Raises CourseError for one that is no notebook.
    """
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise CourseError(f"{path} cannot be read ({plain(error)}): `cs336lite build` makes it anew") from None
    found = []
    for cell in notebook.cells:
        meta = cell.metadata.get("nbgrader")
        if meta:
            flags = {k: bool(meta.get(k)) for k in ("locked", "grade", "solution")}
            flags["locked"] = flags["locked"] or (flags["grade"] and not flags["solution"])
            points = float(meta.get("points", 0))
            found.append(StructureCell(meta["grade_id"], cell.cell_type, cell.source, None, points=points, **flags))
    return found


def structure_of_gradebook(gradebook: Any, notebook: str, assignment: str) -> list[StructureCell]:
    """The structure that ``nbgrader generate_assignment`` recorded."""
    entry = gradebook.find_notebook(notebook, assignment)
    points = {cell.name: float(cell.max_score) for cell in entry.grade_cells}
    solutions = {cell.name for cell in entry.solution_cells}
    return [
        StructureCell(
            cell.name,
            str(getattr(cell.cell_type, "value", cell.cell_type)),
            cell.source or "",
            cell.checksum,
            bool(cell.locked),
            cell.name in points,
            cell.name in solutions,
            points.get(cell.name, 0.0),
        )
        for cell in entry.source_cells
    ]
