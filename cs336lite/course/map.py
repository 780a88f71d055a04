"""The course on one page: what each lecture, appendix and assignment builds, and who uses it, drawn from the texts.

python -m cs336lite.course.map          writes assets/map.png
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, PngImagePlugin

from cs336lite.course.paths import find_root, is_appendix, way
from cs336lite.course.plan import Item, plan, used
from cs336lite.course.plot import COLORS, Picture, axes, finish

__all__ = ["draw", "read", "users", "write"]


def users(root: Path, plans: Sequence[Item] | None = None) -> dict[str, list[str]]:
    """Each module of the course in the order of the course, and the texts that have to do with it, its builder first.

    ``plans`` is what `plan` says of the course, by default asked for here.
    """
    items = {item.name: item for item in plans or plan(root)}
    order, uses = way(items), used(root, list(items.values()))
    return {
        module: [name, *(other for other in order if other != name and module in uses[other])]
        for name in order
        for module in items[name].modules
    }


def draw(found: dict[str, list[str]], order: list[str]) -> Picture:
    """A square where a text builds a module, a dot where it uses one."""
    modules, columns = list(found), {name: x for x, name in enumerate(order)}
    fig, ax = axes(
        title="What the course builds (square), and who uses it (dot)", xlabel="lectures, appendices (x) and assignments, in order",
        ylabel="modules of cs336lite", size=(8, 0.29 * len(modules) + 1.6),
    )  # fmt: skip
    for y, (module, names) in enumerate(found.items()):
        builder, *others = (columns[name] for name in names)
        name = order[builder]
        color = "vermillion" if name.startswith("a") else "sky_blue" if is_appendix(name) else "blue"
        ax.plot([min([builder, *others]), max([builder, *others])], [y, y], color="#BBBBBB", linewidth=1, zorder=1)
        ax.plot(builder, y, "s", markersize=9, color=COLORS[color])
        ax.plot(others, [y] * len(others), "o", markersize=5, color="#444444") if others else None
        ax.annotate(
            module, (builder, y), xytext=(-9, 0), textcoords="offset points", ha="right", va="center", fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )  # fmt: skip
    ax.set_xticks(range(len(order)), [name.split("_")[0] for name in order])
    ax.set_yticks(range(len(modules)), [""] * len(modules))
    ax.set(ylim=(len(modules) - 0.5, -0.7), xlim=(-1.2, len(order) - 0.6))
    return finish(fig)


def write(root: Path, path: Path) -> None:
    """Draw the map of a course into a PNG file, which also says in words what it shows."""
    plans = plan(root)
    found, order = users(root, plans), way(item.name for item in plans)
    words = PngImagePlugin.PngInfo()
    words.add_text("course", json.dumps(found))
    Image.open(io.BytesIO(draw(found, order).png)).save(path, "png", optimize=True, pnginfo=words)


def read(path: Path) -> dict[str, list[str]]:
    """What a map shows, as `users` gives it."""
    return json.loads(Image.open(path).text["course"])  # type: ignore[attr-defined]


if __name__ == "__main__":
    course = find_root()
    write(course, course / "assets" / "map.png")
    print(f"assets/map.png: {len(read(course / 'assets' / 'map.png'))} modules", file=sys.stderr)
