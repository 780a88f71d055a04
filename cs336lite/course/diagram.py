"""Diagrams of boxes, arrows, labels and tensors, drawn as SVG: sharp at any size, and in the reader's own fonts.

    d = Diagram(40, 6)                                     # 40 columns wide, 6 lines high
    first = d.row(2, 1, ["l", "o", "w"])                   # three boxes side by side
    second = d.row(2, 4, ["lo", "w"], ["orange", "grey"])
    d.arrow(first.bottom, second.top, "join")
    d.show()                                               # the last line of a cell

A column is as wide as a letter, a line as high as a line of text; (0, 0) is the upper left corner. Colours are the names
of `plot.COLORS`, light inside a box and full on its edge, and ``grey``. The ground is white, whatever the page is.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from cs336lite.course.plot import COLORS

__all__ = ["Box", "Diagram", "Drawing", "columns"]

COLUMN, LINE, SIZE = 8.6, 22.0, 14  # pixels; letters of 14 pixels are 8.4 wide
LIGHT = 0.72
GREY = "#6B6B6B"
MONO = "'DejaVu Sans Mono', Menlo, Consolas, 'Noto Sans Mono CJK SC', 'PingFang SC', 'Microsoft YaHei', monospace"
SANS = "'DejaVu Sans', Verdana, 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif"

Point = tuple[float, float]


def columns(text: str) -> int:
    """How many columns a text is wide: two for a character such as 中 or an emoji, none for an accent on its own.

    >>> columns("中a"), columns("e\\u0301")
    (3, 1)
    """
    wide = sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
    return wide - sum(unicodedata.combining(char) > 0 for char in text)


def color_of(name: str) -> str:
    if name != "grey" and name not in COLORS:
        raise ValueError(f"there is no colour {name!r}; there are grey, {', '.join(COLORS)}")
    return GREY if name == "grey" else COLORS[name]


def lighter(color: str) -> str:
    """The colour mixed with white, light enough for black letters on it."""
    parts = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(part + LIGHT * (255 - part)):02X}" for part in parts)


@dataclass(frozen=True)
class Box:
    """A rectangle in columns and lines; its middles are where arrows begin and end."""

    x: float
    y: float
    width: float
    height: float

    @property
    def top(self) -> Point:
        return self.x + self.width / 2, self.y

    @property
    def bottom(self) -> Point:
        return self.x + self.width / 2, self.y + self.height

    @property
    def left(self) -> Point:
        return self.x, self.y + self.height / 2

    @property
    def right(self) -> Point:
        return self.x + self.width, self.y + self.height / 2


@dataclass(frozen=True)
class Drawing:
    """A finished diagram, which a notebook shows.

    JupyterLab shows SVG only in a notebook that its reader has run or trusted, and an image in HTML always.
    """

    svg: str
    says: str = ""  # its texts, for readers who do not see it

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.svg.encode()).decode()
        return f'<img alt={quoteattr(self.says)} src="data:image/svg+xml;base64,{data}">'

    def __repr__(self) -> str:
        return f"Drawing({len(self.svg):,} bytes)"

    def save(self, path: str | Path) -> None:
        Path(path).write_text(self.svg, encoding="utf-8")


@dataclass
class Diagram:
    """A white sheet so many columns wide and lines high. Raises ValueError for what lies outside it."""

    width: float
    height: float
    parts: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def box(
        self,
        x: float,
        y: float,
        text: str = "",
        *,
        width: float | None = None,
        height: float = 1.3,
        color: str = "grey",
    ) -> Box:
        """A box with a text in it (lines at ``\\n``), as wide as the text unless ``width`` is given."""
        lines = text.split("\n")
        box = Box(x, y, max(map(columns, lines)) + 1.2 if width is None else width, height)
        self._inside(box.x, box.y)
        self._inside(*box.right)
        self._inside(*box.bottom)
        color_of(color)
        left, top, wide, high = (f"{v:.1f}" for v in (x * COLUMN, y * LINE, box.width * COLUMN, height * LINE))
        self.parts.append(f'<rect class="d-{color}" x="{left}" y="{top}" width="{wide}" height="{high}" rx="3"/>')
        for number, line in enumerate(lines):
            middle = y + height / 2 + (number - (len(lines) - 1) / 2) * 0.9
            self.text(x + box.width / 2, middle, line, align="middle", mono=True)
        return box

    def row(
        self,
        x: float,
        y: float,
        texts: Sequence[str],
        colors: Sequence[str] | str = "grey",
        *,
        widths: Sequence[float] | None = None,
        height: float = 1.3,
        gap: float = 0.3,
    ) -> Box:
        """Boxes side by side, such as the tokens of a text; the box around all of them."""
        colors = [colors] * len(texts) if isinstance(colors, str) else colors
        right = x
        for i, (text, color) in enumerate(zip(texts, colors, strict=True)):
            made = self.box(right, y, text, width=widths[i] - gap if widths else None, height=height, color=color)
            right = made.x + made.width + gap
        return Box(x, y, max(right - gap - x, 0), height)

    def grid(
        self, x: float, y: float, values: Sequence[Sequence[object]], color: str = "blue", *, width: float | None = None
    ) -> Box:
        """A tensor of rows and columns as cells that touch; the box around it."""
        texts = [[str(value) for value in row] for row in values]
        wide = width or max(columns(text) for row in texts for text in row) + 1.2
        for number, row in enumerate(texts):
            self.row(x, y + 1.3 * number, row, color, widths=[wide] * len(row), gap=0)
        return Box(x, y, wide * max(map(len, texts)), 1.3 * len(texts))

    def text(
        self, x: float, y: float, text: str, *, align: str = "start", color: str = "black", mono: bool = False
    ) -> None:
        """A text at a point: ``align`` is ``start``, ``middle`` or ``end``."""
        wide = columns(text)
        left = {"start": x, "middle": x - wide / 2, "end": x - wide}[align]
        self._inside(left, y)
        self._inside(left + (wide if mono else 0.86 * wide), y)
        shown = escape(text).replace(" ", "\u00a0")
        self.texts.append(text)
        anchor = "" if align == "start" else f' text-anchor="{align}"'
        fill = "" if color == "black" else f' fill="{color_of(color)}"'
        place = f'x="{x * COLUMN:.1f}" y="{y * LINE + 0.35 * SIZE:.1f}"'
        self.parts.append(f'<text class="d-{"mono" if mono else "sans"}" {place}{anchor}{fill}>{shown}</text>')

    def arrow(self, start: Point, end: Point, text: str = "", *, color: str = "black") -> None:
        """An arrow from a point to a point, with a text above its middle, or beside it where it is steep."""
        self._line(start, end, color, f' marker-end="url(#tip-{color})"')
        across, down = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        if text and abs(end[1] - start[1]) * LINE > abs(end[0] - start[0]) * COLUMN:
            self.text(across + 0.8, down, text)
        elif text:
            self.text(across, down - 0.6, text, align="middle")

    def line(self, start: Point, end: Point, *, color: str = "black", width: float = 1.5) -> None:
        """A line, such as one under what is meant."""
        self._line(start, end, color, "", width)

    def show(self) -> Drawing:
        """The drawing of all that was put on the sheet. Raises ValueError when that is nothing."""
        if not self.parts:
            raise ValueError("the diagram is empty: draw something before show()")
        wide, high = self.width * COLUMN, self.height * LINE
        used = dict.fromkeys(name for part in self.parts for name in re.findall(r"#tip-(\w+)", part))
        tips = [
            f'<marker id="tip-{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0 8 4 0 8z" fill="{color_of(name)}"/></marker>'
            for name in used
        ]
        boxes = dict.fromkeys(name for part in self.parts for name in re.findall(r'rect class="d-(\w+)', part))
        looks = [
            *(f".d-{name}{{fill:{lighter(color_of(name))};stroke:{color_of(name)}}}" for name in boxes),
            f".d-mono{{font:{SIZE}px {MONO}}}.d-sans{{font:{SIZE - 1}px {SANS}}}",
        ]
        head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{high:.0f}" viewBox="0 0 {wide:.0f} {high:.0f}">'
        ground = '<rect width="100%" height="100%" fill="white"/>'
        svg = "\n".join(
            [head, f"<style>{''.join(looks)}</style><defs>{''.join(tips)}</defs>", ground, *self.parts, "</svg>"]
        )
        return Drawing(svg, f"diagram: {', '.join(self.texts)}")

    def _line(self, start: Point, end: Point, color: str, more: str, width: float = 1.5) -> None:
        self._inside(*start)
        self._inside(*end)
        (x1, y1), (x2, y2) = start, end
        self.parts.append(
            f'<line x1="{x1 * COLUMN:.1f}" y1="{y1 * LINE:.1f}" x2="{x2 * COLUMN:.1f}" y2="{y2 * LINE:.1f}" '
            f'stroke="{color_of(color)}" stroke-width="{width}"{more}/>'
        )

    def _inside(self, x: float, y: float) -> None:
        if not (0 <= x <= self.width and 0 <= y <= self.height):
            raise ValueError(
                f"({x:.1f}, {y:.1f}) lies outside a diagram of {self.width} columns and {self.height} lines"
            )
