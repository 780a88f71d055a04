"""Is one arm better than another? Paired differences over the same seeds, and what may be said of them.

An *arm* is one way to train. Every arm runs on the same seeds, because a hard seed is hard for all; arms are compared
seed by seed (配对比较). Here GELU and ReLU against SwiGLU, in nats a token:

>>> swiglu = {1: 2.31, 2: 2.28, 3: 2.35, 4: 2.29, 5: 2.33}      # seed -> validation loss
>>> gelu = {1: 2.42, 2: 2.41, 3: 2.45, 4: 2.43, 5: 2.41}
>>> relu = {1: 2.32, 2: 2.28, 3: 2.34, 4: 2.30, 5: 2.33}
>>> for found in comparisons({"SwiGLU": swiglu, "GELU": gelu, "ReLU": relu}, within=0.02):
...     print(found)
GELU − SwiGLU: +0.112 nats, 95 % interval +0.082 to +0.142, n = 5 seeds, Holm p < 0.001; SwiGLU is lower
ReLU − SwiGLU: +0.002 nats, 95 % interval −0.008 to +0.012, n = 5 seeds, Holm p = 0.62; the same within 0.02 nats \
(Holm TOST p = 0.009)

A confidence interval (置信区间) that holds zero shows nothing: the two cannot be told apart, and may still differ. That
they are *the same within a bound* is shown by two one-sided tests (TOST, 等价性检验), for a bound that was stated before
the runs. The tests pass where the 90 % interval lies inside the bound.

>>> print(paired(relu, swiglu, names=("ReLU", "SwiGLU"), within=0.005))
ReLU − SwiGLU: +0.002 nats, 95 % interval −0.008 to +0.012, n = 5 seeds, p = 0.62; cannot be told apart, nor shown to \
be the same within 0.005 nats (TOST p = 0.23)

Several comparisons at once (多重比较) are corrected by Holm's method, the tests for equivalence as a family of their
own. Intervals are not corrected: each one holds the true difference in 95 of 100 sweeps. Sources: Student (1908); Holm,
"A simple sequentially rejective multiple test procedure" (1979); Schuirmann, "A comparison of the two one-sided tests
procedure" (1987). ``tests/course/test_compare.py`` tests these methods by simulation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from cs336lite.course.paths import CourseError

__all__ = ["Difference", "Interval", "comparisons", "holm", "mean_interval", "paired", "rerun"]

FEWEST = 3
"""Seeds below which nothing is said: with two, Student's factor is 12.7."""


class Interval(NamedTuple):
    """A middle and half the width of an interval around it, in the unit of the values."""

    mean: float
    half: float

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half

    def holds(self, value: float) -> bool:
        """Does the value lie inside? A value that is not finite does not."""
        return self.low <= value <= self.high


def mean_interval(values: Iterable[float], *, level: float = 0.95) -> Interval:
    """The mean of one arm's runs and its interval by Student's t: for a plot of single arms.

    Whether two arms differ is not seen from two such intervals, which may overlap when every pair differs: `paired`.

    Raises:
        CourseError: fewer than 3 values, or one that is not finite.
    """
    x = _numbers(dict(enumerate(values, 1)), "value")
    return Interval(float(x.mean()), float(_student(level, len(x)) * x.std(ddof=1) / math.sqrt(len(x))))


def rerun(values: Iterable[float], *, runs: int = 1, level: float = 0.999) -> Interval:
    """Where ``runs`` further runs of an arm lie, all of them together in at least ``level`` of all cases.

    A recorded run that is made again with the same seed on another machine rounds otherwise, and training enlarges
    that, to no more than what another seed changes. So the spread over seeds bounds what a live part of a lecture may
    get. Few seeds give a wide bound: at 0.999 it is ± 36 standard deviations for 3 seeds, ± 5.7 for 8.

    Args:
        values: what the recorded runs of one arm came to, one for each seed.
        runs: how many further runs are tested against it.

    Raises:
        CourseError: as `mean_interval`; values that are all the same; fewer than 1 run.
    """
    x = _numbers(dict(enumerate(values, 1)), "value")
    if runs < 1:
        raise CourseError(f"a bound for {runs} runs: ask for at least 1")
    if x.std() <= 1e-12 * np.abs(x).max():
        raise CourseError(f"every run came to {x[0]:g}, so there is no spread to take a bound from")
    width = _student(1 - (1 - level) / runs, len(x)) * math.sqrt(1 + 1 / len(x))
    return Interval(float(x.mean()), float(width * x.std(ddof=1)))


@dataclass(frozen=True)
class Difference:
    """What the runs of two arms say about a − b, as one sentence; `paired_plot.difference_figure` draws it."""

    a: str
    b: str
    by_seed: Mapping[Any, float]  # a − b
    interval: Interval  # of the mean of a − b
    p: float  # two-sided, by Student's t; corrected for all comparisons of the family
    p_same: float | None  # of two one-sided tests, corrected in the same way; None without a bound
    within: float | None  # the bound for "the same"
    unit: str
    level: float
    family: int = 1  # how many comparisons were corrected for together

    @property
    def name(self) -> str:
        return f"{self.a} − {self.b}"

    @property
    def mean(self) -> float:
        return self.interval.mean

    @property
    def n(self) -> int:
        return len(self.by_seed)

    @property
    def differs(self) -> bool:
        """Do the runs show a difference?"""
        return self.p < 1 - self.level

    @property
    def same(self) -> bool:
        """Do the runs show that the two are the same within the bound? False without a bound."""
        return self.p_same is not None and self.p_same < 1 - self.level

    @property
    def verdict(self) -> str:
        bound = f"{self.within:g} {self.unit}" if self.within is not None else ""
        lower = f"{self.a if self.mean < 0 else self.b} is lower"
        if self.within is None:
            return lower if self.differs else "cannot be told apart, which does not show that they are the same"
        test = f"({'Holm ' * (self.family > 1)}TOST p {_p(self.p_same, 1 - self.level)})"
        if self.differs:
            return f"{lower}, by less than {bound} {test}" if self.same else lower
        if self.same:
            return f"the same within {bound} {test}"
        return f"cannot be told apart, nor shown to be the same within {bound} {test}"

    def __str__(self) -> str:
        mean, low, high = _signed(self.interval)
        p = f"{'Holm ' * (self.family > 1)}p {_p(self.p, 1 - self.level)}"
        interval = f"{100 * self.level:g} % interval {low} to {high}"
        return f"{self.name}: {mean} {self.unit}, {interval}, n = {self.n} seeds, {p}; {self.verdict}"

    __repr__ = __str__


def paired(
    a: Mapping[Any, float],
    b: Mapping[Any, float],
    *,
    names: tuple[str, str] = ("a", "b"),
    within: float | None = None,
    unit: str = "nats",
    level: float = 0.95,
) -> Difference:
    """The difference a − b of two arms that ran on the same seeds. For more than one comparison: `comparisons`.

    Args:
        a, b: {seed: result}, the result a loss or whatever a run came to, in ``unit``.
        names: what the arms are called.
        within: a difference smaller than this counts as none; stated before the runs. Without it nothing can be
            shown to be the same.
        level: of the interval; tests use 1 − level.

    Raises:
        CourseError: different seeds, fewer than 3, a result that is not finite (a run that diverged), a bound that is
            not above 0, or differences that are all the same number.
    """
    for arm, name in zip((a, b), names):
        if not isinstance(arm, Mapping):
            raise CourseError(
                f"{name} is a {type(arm).__name__}: give {{seed: result}}, so that runs pair by their seeds"
            )
    if set(a) != set(b):
        only = [
            f"only {name} has {_listed(set(x) - set(y))}"
            for name, x, y in zip(names, (a, b), (b, a))
            if set(x) - set(y)
        ]
        raise CourseError(
            f"{names[0]} and {names[1]} did not run on the same seeds ({'; '.join(only)}): run both on all"
        )
    if within is not None and not 0 < within < math.inf:
        raise CourseError(f"the bound for equivalence is {within}: it must be above 0, in {unit}, such as 0.02")
    first, second = (_numbers(arm, f"{name} with seed") for arm, name in zip((a, {s: b[s] for s in a}), names))
    x = first - second
    if x.std() <= 1e-12 * np.abs([first, second]).max():
        raise CourseError(
            f"{names[0]} − {names[1]} is {x[0]:g} {unit} with every seed, so there is no spread to judge by: "
            "do both names stand for the same runs, or does the seed change nothing?"
        )
    interval, error = mean_interval(x, level=level), x.std(ddof=1) / math.sqrt(len(x))
    p = 2 * float(stats.t.sf(abs(interval.mean) / error, len(x) - 1))
    p_same = None
    if within is not None:  # the larger p of the two one-sided tests is that for the nearer end of −within to within
        p_same = float(stats.t.sf((within - abs(interval.mean)) / error, len(x) - 1))
    by_seed = dict(zip(a, x.tolist()))
    return Difference(*names, by_seed, interval, p, p_same, within, unit, level)


def comparisons(
    arms: Mapping[str, Mapping[Any, float]], pairs: Iterable[tuple[str, str]] | None = None, **options: Any
) -> list[Difference]:
    """Several differences, corrected for being several by Holm's method: a family of comparisons.

    Args:
        arms: {name: {seed: result}}.
        pairs: (a, b) for each difference a − b. By default every other arm against the first.
        options: ``within``, ``unit``, ``level``, as for `paired`.

    Raises:
        CourseError: fewer than two arms, a pair of an arm that is not there, a pair twice, or what `paired` refuses.
    """
    if len(arms) < 2:
        raise CourseError(
            f"{len(arms)} arm{'s' * (len(arms) != 1)} to compare: give at least 2, {{name: {{seed: result}}}}"
        )
    base = next(iter(arms))
    chosen = [(name, base) for name in arms if name != base] if pairs is None else [tuple(pair) for pair in pairs]
    for unknown in (name for pair in chosen for name in pair if name not in arms):
        raise CourseError(f"there is no arm {unknown!r}; there are: {', '.join(map(repr, arms))}")
    for one, other in combinations(chosen, 2):
        if set(one) == set(other):
            raise CourseError(f"the pair {one[0]!r}, {one[1]!r} is compared twice: leave one out")
    found = [paired(arms[a], arms[b], names=(a, b), **options) for a, b in chosen]
    p = holm([one.p for one in found])
    p_same = holm([one.p_same for one in found]) if options.get("within") is not None else [None] * len(found)
    return [replace(one, p=x, p_same=y, family=len(found)) for one, x, y in zip(found, p, p_same)]


def holm(p: Sequence[float]) -> list[float]:
    """The p values of one family, corrected by Holm's step-down method, in their order.

    Below 0.05 are the comparisons of which, with probability 0.95, none is found by chance, whatever depends on what.

    >>> [round(x, 3) for x in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]

    Raises:
        CourseError: no p values, or one outside 0 to 1.
    """
    x = np.asarray(p, dtype=float)
    if x.size == 0 or not ((x >= 0) & (x <= 1)).all():
        raise CourseError(f"p values lie between 0 and 1, and there is at least one; these are {list(p)}")
    order = np.argsort(x)
    steps = np.maximum.accumulate(x[order] * np.arange(x.size, 0, -1))
    corrected = np.empty_like(x)
    corrected[order] = np.minimum(steps, 1)
    return corrected.tolist()


@cache
def _student(level: float, n: int) -> float:
    if not 0 < level < 1:
        raise CourseError(f"the level of an interval is {level}: it lies between 0 and 1, such as 0.95")
    return float(stats.t.ppf((1 + level) / 2, n - 1))


def _numbers(values: Mapping[Any, Any], what: str) -> np.ndarray:
    """The values as finite numbers, at least `FEWEST`."""
    for key, value in values.items():
        try:
            finite = math.isfinite(float(value))
        except (TypeError, ValueError):
            finite = False
        if not finite:
            raise CourseError(
                f"{what} {key} is {value}, no finite number: a run that diverged has no loss to compare; "
                "choose a lower learning rate for all seeds of the arm, or report how many of its runs diverge"
            )
    if len(values) < FEWEST:
        raise CourseError(f"{len(values)} runs are too few for an interval: run at least {FEWEST} seeds, better 8")
    return np.array([float(value) for value in values.values()])


def _listed(seeds: Iterable[Any]) -> str:
    return ", ".join(map(str, sorted(seeds, key=str)))


def _signed(interval: Interval) -> list[str]:
    """Mean, low and high with as many decimals as the width of the interval allows, and never a sign before a zero."""
    told = (interval.mean, interval.low, interval.high)
    digits = 0
    if interval.half > 0:
        lead = math.floor(math.log10(interval.half))
        digits = max(0, -lead + (interval.half < 4 * 10**lead))
    while digits < 6 and any(round(x, digits) == 0 and abs(x) > 1e-9 for x in told[1:]):
        digits += 1
    return [f"{x:+.{digits}f}".replace("-", "−") if round(x, digits) else f"{0:.{digits}f}" for x in told]


def _p(p: float, alpha: float) -> str:
    """``= 0.03`` or ``< 0.001``; as many decimals as it takes to stand on its side of ``alpha``."""
    if p < 0.001:
        return "< 0.001"
    digits = 3 if p < 0.01 else 2
    while digits < 6 and (float(f"{p:.{digits}f}") < alpha - 1e-12) != (p < alpha):
        digits += 1
    return f"= {p:.{digits}f}"
