"""The figures of a report, as SVG that lies in the page: no text of a student is in them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cs336lite.course.plot import COLORS, label, style

BLUE, RED, SOFT = COLORS["blue"], COLORS["vermillion"], "#59626c"


def svg(name: str, size: tuple[float, float], draw: Callable[[Axes], None]) -> str:
    """One figure as an ``<svg>`` element, the same for the same content. ``name`` keeps its ids apart from others'."""
    with style(), rc_context({"svg.hashsalt": name, "font.size": 9, "axes.titlesize": 11}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for old in sorted(set(re.findall(r'id="([^"]+)"', text)), key=len, reverse=True):
        text = text.replace(f'id="{old}"', f'id="{name}-{old}"').replace(f"#{old})", f"#{name}-{old})")
        text = text.replace(f'href="#{old}"', f'href="#{name}-{old}"')
    return re.sub(r'^<svg ([^>]*?)width="[^"]+"', r"<svg \1", re.sub(r'^(<svg [^>]*?)height="[^"]+" ', r"\1", text))


def distribution(totals: Sequence[float], max_score: float) -> str:
    """How many students have how many points, with mean and median."""

    def draw(ax: Axes) -> None:
        counts, edges = np.histogram(np.clip(totals, 0, max_score), bins=20, range=(0, max_score or 1))
        ax.bar(edges[:-1], counts, np.diff(edges) * 0.92, align="edge", color=BLUE)
        mean, median = float(np.mean(totals)), float(np.median(totals))
        ax.axvline(mean, color=RED, linewidth=1.5, label=f"mean {mean:.1f}")
        ax.axvline(median, color="#1d2126", linewidth=1.5, linestyle=(0, (4, 2)), label=f"median {median:.4g}")
        ax.set(
            title="What counts in the end", xlabel=f"points of {max_score:g}", ylabel="students", xlim=(0, max_score)
        )
        ax.yaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
        ax.grid(axis="x", visible=False)
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=8, borderaxespad=0)

    return svg("distribution", (5.2, 2.9), draw)


def exercises(names: Sequence[str], shares: Sequence[Sequence[float]]) -> str:
    """The share of its points that each student has in each exercise, and the mean of the class."""

    def draw(ax: Axes) -> None:
        rng = np.random.default_rng(0)
        places = np.arange(len(names))[::-1]
        for place, some in zip(places, shares):
            ax.barh(place, np.mean(some), 0.62, color=BLUE, alpha=0.28, zorder=1)
            spread = rng.uniform(-0.2, 0.2, len(some))
            ax.plot(some, place + spread, "o", color=BLUE, markersize=2.6, alpha=0.55, markeredgewidth=0, zorder=2)
            ax.plot([np.mean(some)] * 2, [place - 0.31, place + 0.31], color=RED, linewidth=2, zorder=3)
        ax.set_yticks(places, [label(name) for name in names])
        ax.set(title="By exercise: each student, and the mean", xlabel="share of the points", xlim=(-0.02, 1.02))
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)

    return svg("exercises", (5.2, max(1.6, 0.9 + 0.42 * len(names))), draw)


def arrivals(hours: Sequence[float]) -> str:
    """When work was handed in, in hours from the due date (below 0: in time)."""

    def draw(ax: Axes) -> None:
        low, high = min([*hours, -1.0]), max([*hours, 1.0])
        unit, named = (24, "days") if high - low > 72 else (1, "hours")
        step = next(s for s in (0.1, 0.25, 0.5, 1, 2, 4, 7, 14, 30, 10**4) if (high - low) / unit / s <= 36)
        bins = np.arange(np.floor(low / unit / step), np.ceil(high / unit / step) + 1) * step  # the due date is an edge
        counts, _ = np.histogram(np.array(hours) / unit, bins)
        middle = (bins[:-1] + bins[1:]) / 2
        ax.bar(middle, counts, np.diff(bins) * 0.92, color=[RED if x > 0 else BLUE for x in middle])
        ax.axvline(0, color="#1d2126", linewidth=1.2)
        ax.set(title="When it was handed in", xlabel=f"{named} after the due date", ylabel="students")
        ax.yaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
        ax.grid(axis="x", visible=False)

    return svg("arrivals", (5.2, 2.4), draw)
