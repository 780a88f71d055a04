"""The rooms of the package and who imports from whom, read from the code, and drawn into docs/architecture.svg.

python docs/architecture.py
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from cs336lite.course.diagram import Diagram, Drawing

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "package": "what lectures and assignments build, and\nwhat is written by hand beside it",
    "course": "tools around the notebooks: build, check,\nhint, release, status",
    "grading": "submissions are judged, apart from\nthe answers; what a course keeps",
    "teaching": "what an instructor does around\ngrading: pages, reports, the demo",
    "cli": "commands of authors, students and instructors",
}
"""From the ground up, each with what is in it."""
TOOLS = {"cs336lite.course.tuning", "cs336lite.course.data"}
"""What keeps the records of a sweep, and the text of its runs."""
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "cs336lite").rglob("*.py"))
}
"""Every module, and its file."""


def room(module: str) -> str:
    """The room a module stands in."""
    first = module.split(".")[1] if "." in module else ""
    return first if first in ROOMS else "package"


@functools.cache
def imports(module: str, *, late: bool = True) -> dict[str, int]:
    """The modules of ours that one imports, each with a line; without ``late`` those that its own import needs."""
    found: dict[str, int] = {}

    def look(node: ast.AST) -> None:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in FILES else node.module for name in whole]
        for name in names:
            if name in FILES and name != module:
                found.setdefault(name, node.lineno)
        if not late and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if not late and isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return
        for child in ast.iter_child_nodes(node):
            look(child)

    look(ast.parse(FILES[module].read_text(encoding="utf-8")))
    return found


def sweeps() -> set[tuple[str, str]]:
    """The one exception: lectures declare sweeps of hundreds of runs with the tools that keep their records."""
    declared = [
        module for module in FILES if room(module) == "package" and "cs336lite.course.tuning" in imports(module)
    ]
    return {(module, other) for module in declared for other in imports(module) if other in TOOLS}


def arrows() -> set[tuple[str, str]]:
    """(room, other room) wherever a module of the one imports a module of the other, but for `sweeps`."""
    found = {(one, other) for one in FILES for other in imports(one)} - sweeps()
    return {(room(one), room(other)) for one, other in found if room(one) != room(other)}


def draw() -> Drawing:
    """A box for each room, the command line on top; arrows to what it imports from."""
    apart, left, wide = 4.6, 1.0, 62.0
    d = Diagram(92, apart * len(ROOMS) + 0.4)
    boxes = {
        name: d.box(left, 1 + apart * i, width=wide, height=2.6, color="orange" if name == "package" else "blue")
        for i, name in enumerate(reversed(ROOMS))
    }
    for name, box in boxes.items():
        d.text(
            box.x + 1.5,
            box.y + box.height / 2,
            {"package": "cs336lite/*.py"}.get(name, f"{name}/"),
            mono=True,
        )
        for i, line in enumerate(lines := ROOMS[name].split("\n")):
            d.text(box.x + 19, box.y + box.height / 2 + (i - (len(lines) - 1) / 2) * 0.95, line)
    order, column = list(boxes), left + wide + 4
    for one, other in sorted(
        arrows(), key=lambda pair: (order.index(pair[1]) - order.index(pair[0]), order.index(pair[0]))
    ):
        above, below = boxes[one], boxes[other]
        if order.index(other) - order.index(one) == 1:
            d.arrow(above.bottom, below.top)
            continue
        depth = 0.6 * order.index(one)  # arrows into one box end one below the other
        start = (above.right[0], above.right[1] + 0.7)
        end = (below.right[0], below.right[1] - 0.9 + depth)
        d.line(start, (column, start[1]))
        d.line((column, start[1]), (column, end[1]))
        d.arrow((column, end[1]), end)
        column += 4
    return d.show()


if __name__ == "__main__":
    draw().save(ROOT / "docs" / "architecture.svg")
