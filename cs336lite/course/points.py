"""The points of an assignment stand in several places: they are compared, and every place is named where they differ.

Its text promises them in the grade cells (``# %% grade="train" points=30``), in the heading above an exercise
(``## 4 · Training (`train`)``, then a line that ends in ``· 30 points**``), in the table at its head, whose last column is
``points``, and together in the line below its title. The hidden checks give them: that is the one place to change, and
`follow` puts it into the others (``cs336lite points``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from cs336lite.course.paths import CourseError, write_atomic
from cs336lite.course.spec import load_spec
from cs336lite.course.text import Text

HEADING = re.compile(r"#+ .*\(`(\w+)`\)")
PROMISE = re.compile(r"\*\*.*· (\d+(?:\.\d+)?) points\*\*")
ROW = re.compile(r"\| `(\w+)` \|.*\| (\d+(?:\.\d+)?) \|")
TOGETHER = "all exercises together"

Told = tuple[str, float, str]  # an exercise, its points, and the place that says so


def differences(text: Text, hidden: Path, shown: str) -> list[str]:
    """One message for each exercise of which not all places say the same; none where there are no hidden checks yet.

    ``shown`` is how messages call the file or folder ``hidden``. Raises CourseError when it cannot be loaded.
    """
    if not hidden.exists():
        return []
    graded = load_spec(hidden).exercises
    told: dict[str, list[tuple[float, str]]] = {}
    for exercise, points, place in promised(text):
        told.setdefault(exercise, []).append((points, place))
    found = []
    for name in dict.fromkeys([*told, *graded, TOGETHER]):
        if name == TOGETHER:
            checked = sum(graded.values())
        elif name in graded:
            checked = graded[name]
        else:
            found.append(f"{told[name][0][1]}: `{name}` is worth points, and {shown} has no check of it")
            continue
        if name != TOGETHER and not any(place.endswith("grade cell") for _, place in told.get(name, [])):
            found.append(f"{shown}: there are checks of `{name}`, and the text has no grade cell for it")
        elif any(abs(points - checked) > 1e-9 for points, _ in told.get(name, [])):
            says = "".join(f", {points:g} at {place}" for points, place in told[name])
            quoted = name if name == TOGETHER else f"`{name}`"
            found.append(f"the points of {quoted} differ: {checked:g} in {shown}{says}")
    return found


def promised(text: Text) -> Iterator[Told]:
    """Each place of a text that promises points."""
    exercise, in_table = TOGETHER, False
    for i, cell in enumerate(text.notebook.cells):
        course = cell.metadata.get("nbgrader", {})
        if course.get("grade"):
            place = f"{text.path.name}:{text.lines[i] - 1}, its grade cell"
            yield course["grade_id"].removeprefix("grade_"), float(course["points"]), place
        if cell.cell_type != "markdown":
            continue
        for number, line in enumerate(cell.source.split("\n"), 1):
            place = f"{text.path.name}:{text.lines[i] + number - 1}"
            in_table = line.startswith("|") and (in_table or line.endswith("| points |"))
            if heading := HEADING.match(line):
                exercise = heading[1]
            elif promise := PROMISE.match(line):
                yield exercise, float(promise[1]), f"{place}, the heading"
            elif in_table and (row := ROW.fullmatch(line)):
                yield row[1], float(row[2]), f"{place}, the table"


def follow(text: Text, hidden: Path) -> list[str]:
    """Put the points of the hidden checks into all places of a text; a message for each line that has changed.

    Raises:
        CourseError: the text promises points for an exercise of which there is no check.
    """
    graded = load_spec(hidden).exercises
    lines, changed = text.path.read_text(encoding="utf-8").split("\n"), []
    for exercise, points, place in promised(text):
        if exercise != TOGETHER and exercise not in graded:
            raise CourseError(f"{place}: `{exercise}` is worth points, and {hidden.name} has no check of it")
        wanted = sum(graded.values()) if exercise == TOGETHER else graded[exercise]
        number = int(re.search(r":(\d+),", place)[1]) - 1
        before = lines[number]
        lines[number] = re.sub(
            r"(points=|· (?=[\d.]+ points\*\*)|\| (?=[\d.]+ \|$))[\d.]+", rf"\g<1>{wanted:g}", before
        )
        if lines[number] != before:
            changed.append(f"{place}: {points:g} is now {wanted:g}")
    if changed:
        write_atomic(text.path, "\n".join(lines))
    return changed
