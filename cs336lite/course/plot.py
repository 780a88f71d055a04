"""One look for every figure of the course, and no figure that says nothing.

    fig, ax = axes(title="Loss falls", xlabel="step", ylabel="loss (nats per token)")
    ax.plot(steps, losses, color=COLORS["blue"], label="ours")
    finish(fig)                                   # the last line of a cell: checks the figure, then shows it

Figures are drawn on an opaque white ground, in colours that people with colour-blindness can tell apart, and become PNG
files that are equal byte for byte when their content is. There is no global state: pyplot is not used.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import font_manager, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

__all__ = ["COLORS", "Picture", "axes", "cjk_font", "finish", "label", "style"]

COLORS = {
    "blue": "#0072B2", "vermillion": "#D55E00", "green": "#009E73", "orange": "#E69F00",
    "purple": "#CC79A7", "sky_blue": "#56B4E9", "black": "#000000", "yellow": "#F0E442",
}  # fmt: skip
"""The palette of Okabe and Ito (2008), best contrast on white first: the order in which lines take their colours."""

CJK_FONTS = (
    "Noto Sans CJK SC, Noto Sans SC, Source Han Sans SC, PingFang SC, Hiragino Sans GB, Heiti SC, STHeiti, Heiti TC,"
    " Microsoft YaHei, SimHei, WenQuanYi Micro Hei, WenQuanYi Zen Hei, Noto Sans CJK JP, Noto Serif CJK SC,"
    " Noto Serif CJK JP, Songti SC, SimSun, AR PL UMing CN, Droid Sans Fallback, Arial Unicode MS"
)
"""Fonts with Chinese characters that systems bring along, the best for figures first."""

MAX_BYTES = 200_000
"""A notebook stays below 500 kB in all, so one picture stays well below that."""


def cjk_font() -> str | None:
    """The name of an installed font with Chinese characters, or None."""
    installed = set(font_manager.get_font_names())
    return next((name for name in CJK_FONTS.split(", ") if name in installed), None)


def _families() -> list[str]:
    return ["DejaVu Sans", *filter(None, [cjk_font()])]


def label(text: str, families: list[str] | None = None) -> str:
    """The text with every character that no font here can draw shown as its code point: ``中`` or ``U+4E2D``."""
    names = _families() if families is None else families
    fonts = [font_manager.get_font(font_manager.findfont(name)) for name in names]

    def known(char: str) -> bool:
        return char.isspace() or any(font.get_char_index(ord(char)) for font in fonts)

    return "".join(char if known(char) else f"U+{ord(char):04X}" for char in text)


@contextmanager
def style() -> Iterator[None]:
    """The look of the course, for figures made and drawn inside ``with style():``."""
    settings = {
        "axes.edgecolor": "#444444", "axes.spines.right": False, "axes.spines.top": False,
        "axes.grid": True, "grid.color": "#DDDDDD", "grid.linewidth": 0.6, "axes.axisbelow": True,
        "axes.prop_cycle": f"cycler('color', {list(COLORS.values())})", "legend.frameon": False,
        "axes.titlelocation": "left", "axes.titlesize": 12, "font.family": _families(), "font.size": 10,
        "figure.facecolor": "white", "savefig.facecolor": "white",
    }  # fmt: skip
    with rc_context(settings):
        yield


def axes(
    rows: int = 1, columns: int = 1, *, title="", xlabel="", ylabel="", size=(6.4, 3.6), dpi=100, **options
) -> tuple[Figure, Axes | np.ndarray]:
    """A new figure and its axes in the house style: one, or an array of them for several rows or columns.

    ``xlabel`` and ``ylabel`` name the quantity and its unit; with several axes they go to each. ``size`` is in
    inches; ``options`` go to `matplotlib.figure.Figure.subplots` (``sharex=True``).
    """
    with style():
        fig = Figure(figsize=size, dpi=dpi, layout="constrained")
        made = fig.subplots(rows, columns, **options)
        for ax in np.ravel(made):
            ax.set(xlabel=label(xlabel), ylabel=label(ylabel))
        if title and rows == columns == 1:
            made.set_title(label(title))
        elif title:
            fig.suptitle(label(title), x=0.01, ha="left")
    return fig, made


@dataclass(frozen=True)
class Picture:
    """A finished figure as a PNG file, which a notebook shows."""

    png: bytes

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return f"Picture({len(self.png):,} bytes)"

    def save(self, path: str | Path) -> None:
        Path(path).write_bytes(self.png)


def finish(fig: Figure, *, max_bytes: int = MAX_BYTES) -> Picture:
    """The picture of a figure that has been checked: every axes shows data and names what it shows.

    Adds a legend where several things carry labels and the figure has none of its own. Characters without a glyph become code points.

    Raises:
        ValueError: no axes, axes without finite data or without a label on x or y, or a picture above ``max_bytes``.
    """
    shown = [ax for ax in fig.axes if ax.get_visible()]
    if not shown:
        raise ValueError("the figure has no axes: draw something before finish(fig)")
    for number, ax in enumerate(shown, start=1):
        _check(ax, f"axes {number} of {len(shown)}" + (f" ({ax.get_title()!r})" if ax.get_title() else ""))
    with style():
        for ax in shown:
            if len(ax.get_legend_handles_labels()[1]) > 1 and ax.get_legend() is None and not fig.legends:
                ax.legend()
            if ax.images:
                ax.grid(False)
        _spell(fig)
        buffer = io.BytesIO()
        fig.savefig(buffer, format="png", metadata={"Software": None})
    png = _with_palette(buffer)
    if len(png) > max_bytes:
        raise ValueError(f"the picture takes {len(png):,} bytes, more than {max_bytes:,}: make it smaller or plot less")
    return Picture(png)


def _with_palette(png: io.BytesIO) -> bytes:
    """The same picture in 256 colours, a third of the size: a figure is not a photograph."""
    smaller = io.BytesIO()
    image = Image.open(png).convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    image.save(smaller, "png", optimize=True)
    return smaller.getvalue()


def _spell(fig: Figure) -> None:
    """Give every text fonts for its characters, or code points where there are none."""
    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):
            texts = [text.get_text() for text in axis.get_ticklabels()]
            if any(text != label(text) for text in texts):  # drawing would ask the formatter for the old ones again
                axis.set_ticks(axis.get_ticklocs(), labels=[label(text) for text in texts])
    for text in fig.findobj(Text):
        text.set_text(label(text.get_text()))
        text.set_fontfamily(_families())


def _check(ax: Axes, where: str) -> None:
    colorbar = hasattr(ax, "_colorbar")
    if not np.isfinite(ax.dataLim.get_points()).all() and not colorbar and not (ax.texts and not ax.axison):
        raise ValueError(f"{where}: nothing to see, there is no finite data in it")
    for line in ax.lines:
        if not np.isfinite(np.asarray(line.get_xydata(), dtype=float)).all(axis=-1).any():
            raise ValueError(f"{where}: the line {line.get_label()!r} has no finite points")
    named = [bool(ax.get_xlabel()), bool(ax.get_ylabel())]
    if ax.axison and not (any(named) if colorbar else all(named)):
        missing = "a label" if colorbar else " and ".join(n for n, ok in zip(["xlabel", "ylabel"], named) if not ok)
        raise ValueError(f"{where}: {missing} is missing; name the quantity and its unit with axes(xlabel=, ylabel=)")
