"""A figure of paired differences: every seed, the mean with its interval, zero, and the bound for "the same".

difference_figure(comparisons({"SwiGLU": swiglu, "GELU": gelu}, within=0.02))      # the last line of a cell
"""

from __future__ import annotations

from collections.abc import Sequence

from cs336lite.course.compare import Difference
from cs336lite.course.paths import CourseError
from cs336lite.course.plot import COLORS, Picture, axes, finish

__all__ = ["difference_figure"]


def difference_figure(
    found: Difference | Sequence[Difference], *, title: str = "", quantity: str = "validation loss"
) -> Picture:
    """The picture of one difference or of several, a row for each, which names n, unit and interval.

    Args:
        found: what `paired` or `comparisons` gave.
        title: states what is seen.
        quantity: what was measured, without its unit.

    Raises:
        CourseError: no differences, or differences in several units, levels or bounds.
    """
    rows = [found] if isinstance(found, Difference) else list(found)
    if len({(row.unit, row.level, row.within) for row in rows}) != 1:
        raise CourseError("a figure shows differences of one unit, one level and one bound: draw several figures")
    unit, level, within = rows[0].unit, rows[0].level, rows[0].within
    counts = sorted({row.n for row in rows})
    seeds = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    fig, ax = axes(
        title=title or "Paired differences, seed by seed",
        xlabel=f"difference in {quantity} ({unit})",
        ylabel="arms compared",
        size=(max(6.4, 4.6 + 0.08 * max(len(row.name) for row in rows)), 1.9 + 0.45 * len(rows)),  # room for the names
    )
    if within is not None:
        ax.axvspan(-within, within, color="#E4E4E4", label=f"the same within {within:g} {unit}")
    ax.axvline(0, color=COLORS["black"], linewidth=1)
    for i, row in enumerate(rows):
        points, mean = (f"one seed ({seeds})", f"mean, {100 * level:g} % interval") if i == 0 else (None, None)
        ax.plot(list(row.by_seed.values()), [i - 0.18] * row.n, "o", color=COLORS["orange"], alpha=0.8, label=points)
        ax.errorbar(row.mean, i + 0.18, xerr=row.interval.half, fmt="D", color=COLORS["blue"], capsize=4, label=mean)
    ax.set(yticks=range(len(rows)), yticklabels=[row.name for row in rows], ylim=(len(rows) - 0.5, -0.5))
    ax.grid(axis="y", visible=False)
    ax.locator_params(axis="x", nbins=6)
    fig.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return finish(fig)
