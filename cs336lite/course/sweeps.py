"""What a sweep's rows say: the results of one arm by seed, the best setting of a knob, and whether the grid was wide enough.

A row is a dict: names of what was set (arm, lr, seed, …) and of what came out (final, …). Settings are chosen with some
seeds and reported with others, so that luck in the choice is not counted as gain:

>>> losses = {1e-3: 2.5, 1.5e-3: 2.25, 2.2e-3: 2.75}
>>> rows = [{"arm": "GELU", "lr": lr, "seed": s, "final": losses[lr] + s / 8} for lr in losses for s in range(5)]
>>> lr = best(rows, "lr", arm="GELU", seed=(0, 1))
>>> print(interior(lr, losses))
0.0015 lies inside the grid from 0.001 to 0.0022, whose neighbours are at most × 1.5 apart
>>> by_seed(rows, arm="GELU", lr=lr, seed=(2, 3, 4))
{2: 2.5, 3: 2.625, 4: 2.75}
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import Any

from cs336lite.course.paths import CourseError

__all__ = ["Inside", "best", "by_seed", "interior"]

CLOSE = 1e-9  # numbers of a grid that differ by less, as a share, are the same
ROUNDED = 1.02  # a grid is written with few digits: 3.3 and 5 are "× 1.5 apart"


def by_seed(rows: Iterable[Mapping[str, Any]], value: str = "final", **where: Any) -> dict[Any, float]:
    """{seed: value} of the rows for which everything in ``where`` holds; what `compare.paired` takes.

    Args:
        rows: of a sweep.
        value: the name of the result.
        where: what was set; a tuple, list, set or range stands for any of its members.

    Raises:
        CourseError: no such rows, a row that lacks a name, or two rows with the same seed.
    """
    found: dict[Any, float] = {}
    for row in _chosen(rows, where, "seed", value):
        if row["seed"] in found:
            raise CourseError(f"two rows have seed {row['seed']} for {_said(where)}: say more of what was set")
        found[row["seed"]] = row[value]
    return found


def best(rows: Iterable[Mapping[str, Any]], knob: str, value: str = "final", **where: Any) -> Any:
    """The setting of ``knob`` with the lowest mean ``value`` over seeds; the smallest of equals.

    A run that diverged (None, nan or inf) makes the mean of its setting infinite.

    Raises:
        CourseError: as `by_seed`; settings that ran on different seeds; every setting with a run that diverged.
    """
    rows = _chosen(rows, where, knob, "seed", value)
    groups = {x: by_seed(rows, value, **{knob: x}) for x in sorted({row[knob] for row in rows})}
    first = next(iter(groups))
    for x, runs in groups.items():
        if set(runs) != set(groups[first]):
            raise CourseError(
                f"{knob} {first:g} has seeds {', '.join(map(str, groups[first]))} and {knob} {x:g} has "
                f"{', '.join(map(str, runs))}: a fair choice needs the same seeds for each"
            )
    means = {x: sum(map(_finite, runs.values())) / len(runs) for x, runs in groups.items()}
    if not math.isfinite(min(means.values())):
        raise CourseError(f"with every {knob} from {first:g} to {x:g} a run diverged: try a smaller one")
    return min(means, key=means.get)


@dataclass(frozen=True)
class Inside:
    """Whether an optimum was found inside a fine enough grid, and one sentence that says so. True or false as it is."""

    ok: bool
    why: str

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        return self.why

    __repr__ = __str__


def interior(best: float, grid: Iterable[float], *, ratio: float = 1.5) -> Inside:
    """Does the optimum lie strictly inside the grid, and are neighbours in the grid at most ``ratio`` times apart?

    A ratio that is 2 % larger passes, since rates are written with few digits.

    Args:
        best: the best setting, one of the grid.
        grid: settings above 0, at least 3, in any order.

    Raises:
        CourseError: fewer than 3 different settings, one that is not a number above 0, or ``best`` is none of them.
    """
    points = sorted(float(x) for x in grid)
    if (
        not all(0 < x < math.inf for x in points)
        or any(a >= b * (1 - CLOSE) for a, b in pairwise(points))
        or len(points) < 3
    ):
        raise CourseError(f"a grid has at least 3 different numbers above 0; this one is {points}")
    places = [i for i, x in enumerate(points) if math.isclose(x, best, rel_tol=CLOSE)]
    if not places:
        raise CourseError(f"{best:g} is not in the grid {', '.join(f'{x:g}' for x in points)}")
    place, span = places[0], f"the grid from {points[0]:g} to {points[-1]:g}"
    if place == 0:
        return Inside(False, f"{best:g} is the smallest of {span}: the optimum may lie below, add {best / ratio:.3g}")
    if place == len(points) - 1:
        return Inside(False, f"{best:g} is the largest of {span}: the optimum may lie above, add {best * ratio:.3g}")
    low, high = max(pairwise(points), key=lambda pair: pair[1] / pair[0])
    if high / low > ratio * ROUNDED:
        return Inside(
            False,
            f"{best:g} lies inside {span}, but its neighbours {low:g} and {high:g} are × {high / low:.3g} apart, more than "
            f"× {ratio:g}: add {', '.join(f'{x:.3g}' for x in _between(low, high, ratio))}",
        )
    return Inside(True, f"{best:g} lies inside {span}, whose neighbours are at most × {high / low:.3g} apart")


def _between(low: float, high: float, ratio: float) -> list[float]:
    """The fewest numbers that divide the way from low to high into equal factors of at most ``ratio``."""
    parts = math.ceil(math.log(high / low) / math.log(ratio) - CLOSE)
    return [low * (high / low) ** (i / parts) for i in range(1, parts)]


def _chosen(rows: Iterable[Mapping[str, Any]], where: Mapping[str, Any], *needed: str) -> Sequence[Mapping[str, Any]]:
    rows = list(rows)
    for row in rows:
        for name in (*where, *needed):
            if name not in row:
                raise CourseError(f"a row has no {name!r}; it has: {', '.join(map(repr, row))}")
    found = [row for row in rows if all(_is(row[name], wanted) for name, wanted in where.items())]
    if not found:
        raise CourseError(f"none of {len(rows)} rows has {_said(where)}")
    return found


def _is(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, (tuple, list, set, frozenset, range)):
        return any(_is(value, one) for one in wanted)
    if isinstance(value, Real) and isinstance(wanted, Real):
        return math.isclose(value, wanted, rel_tol=CLOSE)
    return value == wanted


def _said(where: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {wanted!r}" for name, wanted in where.items()) or "anything"


def _finite(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else math.inf
