"""``hint("a1_bpe", "train")``: hints in layers, from a nudge to nearly the answer, one more with each call."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

from cs336lite.course import progress
from cs336lite.course.check import public_spec
from cs336lite.course.paths import CourseError, exercise_book, find_root


@dataclass(frozen=True)
class Hints:
    """The layers read so far, the newest last."""

    assignment: str
    exercise: str
    layers: tuple[str, ...]
    total: int

    @property
    def footer(self) -> str:
        left = self.total - len(self.layers)
        if left:
            return f"{left} more: call hint again when you have tried this one"
        return "that was the last hint"

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{html.escape(layer)}</li>" for layer in self.layers)
        return f"<p><b>{self.exercise}</b></p><ol>{items}</ol><p><i>{self.footer}</i></p>"

    def __repr__(self) -> str:
        lines = [f"{number}. {layer}" for number, layer in enumerate(self.layers, 1)]
        return "\n".join([f"hints for {self.exercise} of {self.assignment}", *lines, f"({self.footer})"])


def hint(assignment: str, exercise: str | None = None, *, root: Path | None = None) -> Hints:
    """One more hint for an exercise; by default, for the first whose public checks have not passed yet.

    Raises:
        CourseError: no such assignment, lecture or exercise.
    """
    root = root or find_root()
    name = exercise_book(root, assignment)
    hints = public_spec(root, name).hints
    data = progress.load(root)
    if exercise is None:
        checked = data["checks"].get(name, {})
        unsolved = [e for e in hints if e not in checked or checked[e][0] < checked[e][1]]
        exercise = unsolved[0] if unsolved else next(iter(hints), "")
    if exercise not in hints:
        raise CourseError(f"{name} has no hints for {exercise!r}; it has them for: {', '.join(hints)}")
    read = data["hints"].setdefault(name, {})
    read[exercise] = min(read.get(exercise, 0) + 1, len(hints[exercise]))
    progress.save(root, data)
    return Hints(name, exercise, tuple(hints[exercise][: read[exercise]]), len(hints[exercise]))
