"""``cs336lite solution``: the course's solution of an exercise, for a reader to compare with, where that may be shown.

In a self-learner's own copy (`course/study.py`) that is once the reader's public checks pass, or on giving up. A student
edition holds no solution: there it is once the instructor has unlocked the assignment (`course/unlock.py`).
"""

from __future__ import annotations

import ast
import html
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs336lite.course import progress
from cs336lite.course.check import public_spec
from cs336lite.course.export import kept_beside, read_notebook
from cs336lite.course.paths import (
    GRADED_MODULES,
    CourseError,
    assignment_name,
    assignment_notebook,
    find_root,
    full_repository,
    is_student_edition,
    original,
)
from cs336lite.course.regions import solved
from cs336lite.course.reset import exercises
from cs336lite.course.text import read_text

__all__ = ["Shown", "show_solution"]


@dataclass(frozen=True)
class Shown:
    """A solution. Shows itself as code, in a notebook and in a terminal."""

    assignment: str
    exercise: str
    code: str

    @property
    def head(self) -> str:
        return f"the course's solution of {self.exercise} ({self.assignment}): one of many right ones"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.head)}</p><pre>{html.escape(self.code)}</pre>"

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.syntax import Syntax
        from rich.text import Text

        return Group(Text(self.head, "bold"), Syntax(self.code, "python", background_color="default"))

    def __repr__(self) -> str:
        return f"# {self.head}\n{self.code}"


def show_solution(assignment: str, exercise: str, *, give_up: bool = False, root: Path | None = None) -> Shown:
    """The course's solution of an exercise of an assignment.

    Args:
        assignment: ``"a1_bpe"``, or ``"a1"``.
        exercise: as ``"train"``.
        give_up: in a self-learner's own copy, also before the public checks pass.

    Raises:
        CourseError: no such exercise, its checks do not pass yet, or this copy of the course may not show it.
    """
    root = root or find_root()
    name = assignment_name(root, assignment)
    asked = public_spec(root, name).exercises
    if exercise not in asked:
        raise CourseError(f"{name} has no exercise {exercise!r}; it has: {', '.join(asked)}")
    if not is_student_edition(root):
        raise CourseError(
            f"the notebook of {name} shows its solutions here: {assignment_notebook(root, name).relative_to(root)}. To write "
            "your own first, run `make study`"
        )
    if clone := full_repository(root):
        right, all_of_them = progress.load(root)["checks"].get(name, {}).get(exercise, [0, 1])
        if right < all_of_them and not give_up:
            raise CourseError(
                f'your {exercise} has not passed its checks yet: run check("{name}", "{exercise}"), and hint("{name}", '
                f'"{exercise}") when you are stuck. `cs336lite solution {name} {exercise} --give-up` shows it all the same'
            )
        return Shown(name, exercise, from_text(clone, name, exercise))
    if not kept_beside(root, GRADED_MODULES[name]).exists():
        raise CourseError(
            f"this edition holds no solution of {name}: your instructor may give you a file after the deadline, and "
            f"`cs336lite unlock {name} --from FILE` opens it"
        )
    return Shown(name, exercise, from_module(root, name, exercise))


def from_text(clone: Path, name: str, exercise: str) -> str:
    """The solution's cells in the text of an assignment."""
    cells = exercises(read_text(clone / "assignments" / "text" / f"{name}.py").notebook)
    return "\n\n".join(solved(cell.source).partition("\n")[2].strip("\n") for cell in cells[exercise])


def from_module(root: Path, name: str, exercise: str) -> str:
    """What the unlocked module of an assignment has of the functions and classes that an exercise asks for."""
    cells = exercises(read_notebook(original(root, name)))
    trees = [ast.parse(cell.source) for cell in cells[exercise]]
    wanted = {node.name for tree in trees for node in tree.body if isinstance(node, DEFINITIONS)}
    source = (root / "cs336lite" / f"{GRADED_MODULES[name]}.py").read_text(encoding="utf-8")
    found = [node for node in ast.parse(source).body if isinstance(node, DEFINITIONS) and node.name in wanted]
    lines = source.split("\n")
    parts = [lines[min([n.lineno, *(d.lineno for d in n.decorator_list)]) - 1 : n.end_lineno] for n in found]
    return textwrap.dedent("\n\n\n".join("\n".join(part) for part in parts))


DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
