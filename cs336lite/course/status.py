"""``status()``: what there is to read and to solve in this copy of the course, and how far you are."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs336lite.course import progress
from cs336lite.course.check import public_spec
from cs336lite.course.paths import (
    GRADED_MODULES,
    CourseError,
    assignments,
    find_root,
    is_student_edition,
    lectures,
    own_root,
)


@dataclass(frozen=True)
class Status:
    """A table of lectures and assignments. Shows itself in a notebook and in a terminal."""

    edition: str
    rows: tuple[tuple[str, str, str], ...]

    def _repr_html_(self) -> str:
        cell = 'style="text-align:left;vertical-align:top;padding:2px 12px 2px 0"'
        rows = "".join(
            "<tr>" + "".join(f"<td {cell}>{html.escape(c)}</td>" for c in row) + "</tr>" for row in self.rows
        )
        return f"<p>{self.edition}</p><table>{rows}</table>"

    def __rich__(self) -> Any:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, title=self.edition, title_justify="left")
        for column in ("", "what it is", "where you are"):
            table.add_column(column)
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table

    def __repr__(self) -> str:
        return "\n".join([self.edition, *("  ".join(row) for row in self.rows)])


def status(root: Path | None = None) -> Status:
    """Lectures with their length, assignments with their checks passed and their module's state."""
    root = root or find_root()
    rows = [lecture_row(root, path) for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))]
    rows += [assignment_row(root, name) for name in assignments(root)]
    edition = "student edition" if is_student_edition(root) else "full repository, solutions included"
    return Status(f"cs336lite, {edition}", tuple(rows))


def lecture_row(root: Path, path: Path) -> tuple[str, str, str]:
    try:
        return lecture_row_of(root, path, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return path.stem, "this notebook cannot be read", "restore it from the course"


def lecture_row_of(root: Path, path: Path, notebook: dict[str, Any]) -> tuple[str, str, str]:
    course = notebook["metadata"].get("cs336lite", {})
    title = next(
        (
            line.lstrip("# ")
            for cell in notebook["cells"]
            if cell["cell_type"] == "markdown"
            for line in "".join(cell["source"]).splitlines()
            if line.startswith("# ")
        ),
        path.stem,
    )
    state = f"{course.get('minutes', '?')} min, builds {course.get('module', 'nothing')}"
    if effort := course.get("effort"):
        state = f"about {effort['minutes']} min, runs in {state}"
    if path.stem in lectures(root):
        done, total = solved_exercises(root, path.stem)
        state += f"; {done} of {total} exercises solved"
    return path.stem, title, state


def solved_exercises(root: Path, name: str) -> tuple[int, int]:
    """How many exercises of an assignment or a lecture have passed all their checks, and how many there are."""
    exercises = public_spec(root, name).exercises
    checked = progress.load(root)["checks"].get(name, {})
    return sum(1 for e in exercises if e in checked and checked[e][0] == checked[e][1]), len(exercises)


def assignment_row(root: Path, name: str) -> tuple[str, str, str]:
    done, total = solved_exercises(root, name)
    state = f"public checks passed in {done} of {total} exercises"
    left = unsolved(root, name)
    if left is None:
        state += f"; cs336lite/{GRADED_MODULES[name]}.py is missing"
    elif left:
        state += f"; not in the package yet: {', '.join(left)}"
    else:
        state += "; in the package"
    return name, f"assignment, builds {GRADED_MODULES[name]}", state


def unsolved(root: Path, name: str) -> list[str] | None:
    """Functions of an assignment's module that still raise NotImplementedError; None when there is no module."""
    from cs336lite.course.export import missing

    path = root / "cs336lite" / f"{GRADED_MODULES[name]}.py"
    return missing(path.read_text(encoding="utf-8")) if path.exists() else None


def have(assignment: str, root: Path | None = None) -> bool:
    """Whether the package holds a complete solution of an assignment; says what is missing when it does not.

    Lectures ask this before they use what an assignment builds, and go on without it when the answer is False.
    """
    root = root or own_root()
    name = next((known for known in GRADED_MODULES if assignment in (known, known.split("_")[0])), assignment)
    if name not in GRADED_MODULES:
        raise CourseError(f"there is no assignment {assignment!r}; the course has: {', '.join(GRADED_MODULES)}")
    left = unsolved(root, name)
    if left == []:
        return True
    what = ", ".join(left) if left else f"cs336lite/{GRADED_MODULES[name]}.py"
    print(f"{name} is not done yet ({what}): solve assignments/{name}/{name}.ipynb, run its last cell, and come back.")
    return False
