"""Another assignment's notebook, handed in by mistake: known by the names of its cells and of what it defines.

It is told by what is there and not by the file's name. A submission that holds anything of its own assignment, be it one
cell or one function, is not mistaken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from cs336lite.grading.structure import StructureCell, structure_of_source
from cs336lite.grading.submission import SubmittedNotebook

DEFINED = re.compile(r"(?m)^(?:async[ \t]+)?(?:def|class)[ \t]+([^\W\d]\w{0,80})")


class Assignments:
    """What the assignments of a course are known by.

    Assignments(course).remark(notebook, "a4_lion")     # "this is the work for a1_bpe, not for a4_lion"
    """

    def __init__(self, course: Path, structures: dict[str, list[StructureCell]] | None = None) -> None:
        marks = {}
        for path in sorted((course / "source").glob("*/*.ipynb")):
            if path.stem == path.parent.name:
                marks[path.stem] = marks_of_structure(structure_of_source(path))
        for name, structure in (structures or {}).items():
            marks[name] = marks.get(name, set()) | marks_of_structure(structure)
        shared = {mark for name, own in marks.items() for mark in own if sum(mark in o for o in marks.values()) > 1}
        self.marks = {name: own - shared for name, own in marks.items()}

    def remark(self, notebook: SubmittedNotebook, assignment: str) -> str:
        """What to say of another assignment's work to its author; empty where it is none."""
        other = self.other(notebook, assignment)
        return f"this is the work for {other}, not for {assignment}" if other else ""

    def other(self, notebook: SubmittedNotebook, assignment: str) -> str:
        """Which other assignment's work this is; empty when it is this one's, or nobody knows."""
        found = marks_of((cell.name, cell.cell_type, cell.source) for cell in notebook.cells)
        if found & self.marks.get(assignment, found):
            return ""
        hits = {name: len(found & own) for name, own in self.marks.items() if found & own}
        return max(sorted(hits), key=hits.get, default="")


def marks_of_structure(structure: Iterable[StructureCell]) -> set[str]:
    return marks_of((c.name, c.cell_type, c.source) for c in structure)


def marks_of(cells: Iterable[tuple[str | None, str, str]]) -> set[str]:
    """Names of cells, and of the functions and classes that code cells define at their left edge."""
    found: set[str] = set()
    for name, kind, source in cells:
        if name:
            found.add(f"cell {name}")
        if kind == "code":
            found.update(f"def {defined}" for defined in DEFINED.findall(source))
    return found
