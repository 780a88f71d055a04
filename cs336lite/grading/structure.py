"""The cells that an assignment asks for, and a submission put into their order."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cs336lite.course.border import plain
from cs336lite.course.module import bare
from cs336lite.course.paths import CourseError
from cs336lite.grading.handed import ATTACHED, PICTURES, attached_name

if TYPE_CHECKING:
    from nbformat import NotebookNode

NUMBER = "cs336lite"  # the key of a cell's metadata that holds its number in the notebook as it was handed in
GIVEN = "cs336lite_given"  # and the one that says that it is as the course gave it


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


# what begins markup in markdown, a picture, or a link that leads elsewhere than to a web page
LIVELY = re.compile(r"<(?=[A-Za-z/!?])|!(?=\[)|\](?=\((?!https?://))|\](?=[\[:])")


NO_WORDS = re.compile(r"[^\w .,-]")  # in what a picture is called


@dataclass(frozen=True)
class StructureCell:
    """A cell of the released notebook that nbgrader knows; or one without a ``name``, which is given and may be edited."""

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


def normalise(notebook: SubmittedNotebook, structure: Iterable[StructureCell]) -> tuple[NotebookNode, list[str]]:
    """A notebook with the released structure and the student's code, and notes on what was put right.

    Locked cells are restored, the first copy of each kept. Of a solution cell that occurs several times, all copies
    run and the last one keeps the name. Missing cells are added after the cell that they followed. Code that is as it was
    given is marked so: what happens there is not the student's doing.
    """
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook  # here: the processes that read need it not

    make_cell = {"code": new_code_cell, "markdown": new_markdown_cell}
    released = list(structure)
    known = {cell.name: cell for cell in released if cell.name}
    given = {bare(cell.source) for cell in released if not cell.name}
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
        number: dict[str, Any] = {NUMBER: index + 1}
        if template is None and cell.cell_type == "code" and bare(source) in given:
            number[GIVEN] = True
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
        elif cell.cell_type == "code" and cell.source.strip():
            found.append(StructureCell("", "code", cell.source, None, False, False, False, 0.0))
    return found


def structure_of_gradebook(
    gradebook: Any, notebook: str, assignment: str, course: Path | None = None
) -> list[StructureCell]:
    """The structure that ``nbgrader generate_assignment`` recorded, and what else the ``course`` gives in its source notebook."""
    source = course / "source" / assignment / f"{notebook}.ipynb" if course is not None else None
    given = [] if source is None or not source.is_file() else [c for c in structure_of_source(source) if not c.name]
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
    ] + given
