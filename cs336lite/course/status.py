"""``status()``: the way through this copy of the course, how far you are on it, and what comes next."""

from __future__ import annotations

import html
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat

from cs336lite.course import progress
from cs336lite.course.check import public_spec
from cs336lite.course.export import kept_beside
from cs336lite.course.paths import (
    GRADED_MODULES,
    find_root,
    is_student_edition,
    lectures,
    step_notebook,
    steps,
)
from cs336lite.course.ready import unsolved

__all__ = ["Status", "Step", "look", "status"]

COUNTS = (
    "A lecture is done when its last cell has run, an assignment when all its public checks have passed and your code "
    "is in the package. Exercises of lectures are for you alone; hours are what most people take."
)
COUNTS_HERE = (
    "A lecture is done when its last cell has run, an assignment when all its public checks have passed in its notebook. "
    "This is the full repository, solutions included: to write your own, run `make study`."
)


@dataclass(frozen=True)
class Step:
    """One lecture or assignment on the way."""

    name: str
    title: str
    notebook: str  # from the root
    minutes: int | None  # to read and to do; None where nobody has counted them
    solved: int  # exercises
    exercises: int
    done: bool
    state: str

    @property
    def graded(self) -> bool:
        return self.name in GRADED_MODULES

    @property
    def minutes_done(self) -> float:
        """Of an assignment its exercises count one by one, a lecture is read or not."""
        if self.done or not self.graded:
            return (self.minutes or 0) * self.done
        return (self.minutes or 0) * self.solved / max(self.exercises, 1)


@dataclass(frozen=True)
class Status:
    """The steps in their order. Shows itself in a notebook and in a terminal."""

    root: Path
    steps: tuple[Step, ...]

    @property
    def next(self) -> Step | None:
        """The first step that is not done."""
        return next((step for step in self.steps if not step.done), None)

    @property
    def head(self) -> str:
        """What to do now, in one sentence."""
        step = self.next
        if step is None:
            return "All steps are done."
        took = f" ({duration(step.minutes)})" if step.minutes else ""
        if not step.graded:
            return f"Next: read {step.name}{took}: open {step.notebook} and run it to its last cell."
        if step.exercises and step.solved == step.exercises:
            return f"Next: run the last cell of {step.notebook}: it puts your code into the package."
        verb = "go on with" if step.solved else "solve"
        return f'Next: {verb} {step.name}{took}: open {step.notebook}; check("{step.name}") tells what is right so far.'

    @property
    def summary(self) -> str:
        done = sum(step.done for step in self.steps)
        solved, exercises = sum(step.solved for step in self.steps), sum(step.exercises for step in self.steps)
        told = f"{done} of {len(self.steps)} steps done, {solved} of {exercises} exercises solved"
        total = sum(step.minutes or 0 for step in self.steps)
        spent = sum(step.minutes_done for step in self.steps)
        return f"{told}, about {hours(spent)} of {hours(total)} hours; {hours(total - spent)} to go" if total else told

    def mark(self, step: Step) -> str:
        return "✓" if step.done else "→" if step is self.next else ""

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """(mark, name, title, time, where you are) of each step."""
        return [
            (self.mark(step), step.name, step.title, duration(step.minutes), step.state or "") for step in self.steps
        ]

    @property
    def below(self) -> str:
        return COUNTS if is_student_edition(self.root) else COUNTS_HERE

    def _repr_html_(self) -> str:
        return self.html(Path.cwd())

    def html(self, start: Path) -> str:
        """As a table whose links are relative to a folder."""
        cell = 'style="text-align:left;vertical-align:top;padding:2px 12px 2px 0"'
        rows = []
        for step, (mark, name, *rest) in zip(self.steps, self.rows()):
            link = quote(os.path.relpath(self.root / step.notebook, start).replace(os.sep, "/"))
            name = f'<a href="{link}">{html.escape(name)}</a>'
            texts = "".join(f"<td {cell}>{html.escape(text)}</td>" for text in rest)
            rows.append(f"<tr><td {cell}>{mark}</td><td {cell}>{name}</td>{texts}</tr>")
        head, summary, below = (html.escape(text) for text in (self.head, self.summary, self.below))
        return f"<p><b>{head}</b></p><table>{''.join(rows)}</table><p>{summary}</p><p>{below}</p>"

    def __rich__(self) -> Any:
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD)
        for column in ("", "step", "what it is", "time", "where you are"):
            table.add_column(column, no_wrap=column in ("", "step", "time"))
        for row in self.rows():
            table.add_row(*map(Text, row))
        return Group(Text(self.head, "bold"), table, Text(self.summary), Text(self.below, "dim"))

    def __repr__(self) -> str:
        rows = ["  ".join(filter(None, (row[0] or " ", *row[1:]))) for row in self.rows()]
        return "\n".join([self.head, "", *rows, "", self.summary, self.below])


def duration(minutes: int | None) -> str:
    """``"45 min"``, ``"2½ h"``, or nothing where nobody has counted."""
    if not minutes:
        return ""
    return f"{minutes} min" if minutes < 60 else f"{hours(minutes)} h"


def hours(minutes: float) -> str:
    """Hours to the nearest half, ``"2½"``."""
    halves = round(minutes / 30)
    return f"{halves // 2 or ('' if halves else 0)}{'½' * (halves % 2)}"


def status(root: Path | None = None) -> Status:
    """Where you are on the way through the course: the next step first, then every step with its time and state."""
    root = root or find_root()
    known = progress.load(root)
    return Status(root, tuple(look(root, name, known) for name in steps(root)))


def look(root: Path, name: str, known: dict[str, Any]) -> Step:
    """One step, with what is remembered of it (`progress.load`)."""
    path = step_notebook(root, name)
    place = path.relative_to(root).as_posix()
    solved, exercises = solved_exercises(root, name, known)
    try:
        title, minutes = about(path)
    except Exception:  # nbformat raises errors of JSON, of its schema and of its own
        title, minutes = "this notebook cannot be read", None
        problem = "restore it from the course"
    else:
        problem = ""
    done, state = (assignment_state if name in GRADED_MODULES else lecture_state)(root, name, known, solved, exercises)
    return Step(name, title, place, minutes, solved, exercises, done, "; ".join(filter(None, (problem, state))))


def about(path: Path) -> tuple[str, int | None]:
    """The title of a notebook, without its number, and the minutes that it takes a person."""
    notebook = nbformat.read(path, as_version=4)
    course = notebook.metadata.get("cs336lite", {})
    lines = [line for cell in notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines()]
    title = next((line.removeprefix("# ") for line in lines if line.startswith("# ")), path.stem)
    minutes = course.get("minutes") if path.stem in GRADED_MODULES else course.get("effort", {}).get("minutes")
    return title.partition(" · ")[2] or title, minutes


def solved_exercises(root: Path, name: str, known: dict[str, Any]) -> tuple[int, int]:
    """How many exercises of an assignment or a lecture have passed all their checks, and how many there are."""
    if name not in GRADED_MODULES and name not in lectures(root):
        return 0, 0
    exercises, checked = public_spec(root, name).exercises, known["checks"].get(name, {})
    return sum(1 for e in exercises if e in checked and checked[e][0] == checked[e][1]), len(exercises)


def lecture_state(root: Path, name: str, known: dict[str, Any], solved: int, exercises: int) -> tuple[bool, str]:
    read = name in known["read"]
    parts = ["read"] * read + [f"{solved} of {exercises} exercises"] * bool(exercises)
    return read, ", ".join(parts)


def assignment_state(root: Path, name: str, known: dict[str, Any], solved: int, exercises: int) -> tuple[bool, str]:
    counted, all_solved = f"{solved} of {exercises} exercises", solved == exercises
    if not is_student_edition(root):
        return all_solved, counted
    if kept_beside(root, GRADED_MODULES[name]).exists():
        return True, f"{counted}; unlocked, the package holds the reference"
    if unsolved(root, name) == []:
        return all_solved, f"{counted}; your code is in the package"
    return False, f"{counted}; not in the package yet" if solved else counted
