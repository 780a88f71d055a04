"""Recorded comparisons of lectures: arms that are each tuned and then reported, and arms at every learning rate.

A lecture's module declares what it compares, and its notebook reads what came out:

    DEPTH = Tuned("04_depth", {"2 × 96": {...}, "8 × 48": {...}}, run_of, train, grid=(4e-3, 6e-3, 9e-3))
    found = DEPTH.recorded()                        # {"chosen": {arm: {lr, inside, why, grid}}, "rows": [...]}
    losses = reported(found, DEPTH.reporting)       # {arm: {seed: final}}, what `compare.comparisons` takes

An *arm* is a name and what is changed. ``run_of(arm, changes, lr, seed)`` gives the arguments of one training as plain
JSON, ``train(run)`` its results, and both are functions of an importable module, so that other processes can call them.
``cs336lite results 04 --jobs 2`` computes all that the modules of a lecture declare (`compute_all`). Every run is kept as
soon as it is done (`course.kept`), so a sweep of hours can be stopped at any time.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from cs336lite.course.export import text_modules
from cs336lite.course.kept import kept
from cs336lite.course.paths import CourseError
from cs336lite.course.results import recorded, write
from cs336lite.course.sweeps import best, by_seed, interior
from cs336lite.course.text import read_text

__all__ = ["Crossed", "Tuned", "compute_all", "reported"]

RATIO = 1.5  # between neighbouring learning rates
WIDEN = 8  # how often the grid of one arm may be widened

Arms = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class _Declared:
    """What both kinds of comparison have."""

    name: str = field(kw_only=False)  # of the record, notebooks/results/<name>.json, and of the file of kept runs
    arms: Arms = field(kw_only=False)
    run_of: Callable[[str, Mapping[str, Any], float, int], dict[str, Any]] = field(kw_only=False)
    train: Callable[[dict[str, Any]], Mapping[str, Any]] = field(kw_only=False)
    grid: tuple[float, ...] | Mapping[str, tuple[float, ...]]  # learning rates; of every arm, or by the arm's name
    columns: tuple[str, ...] = ("arm", "lr", "seed", "final", "curve")  # what the record keeps of a run
    setting: Mapping[str, Any] = field(default_factory=dict)  # what all arms share: the record belongs to it

    def rates(self, arm: str) -> list[float]:
        return list(self.grid[arm] if isinstance(self.grid, Mapping) else self.grid)

    def runs(self, arm: str, rates: Iterable[float], seeds: Iterable[int]) -> list[dict[str, Any]]:
        return [self.run_of(arm, self.arms[arm], lr, seed) for lr, seed in product(rates, seeds)]

    def told(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [{name: row[name] for name in self.columns} for row in rows]

    def grids(self) -> Any:
        return {arm: list(rates) for arm, rates in self.grid.items()} if isinstance(self.grid, Mapping) else self.grid

    @property
    def configuration(self) -> dict[str, Any]:
        """What the record depends on, as plain JSON."""
        raise NotImplementedError

    @property
    def least(self) -> int:
        """How many runs there are at least."""
        raise NotImplementedError

    def compute(self, jobs: int = 1, bar: tqdm | None = None) -> dict[str, Any]:
        """Train what is not kept yet, in so many processes; the content of the record."""
        raise NotImplementedError

    def recorded(self, **how: Any) -> dict[str, Any]:
        """The content of the record, as `results.recorded` gives it."""
        return recorded(f"{self.name}.json", self.compute, self.configuration, **how)


@dataclass(frozen=True, kw_only=True)
class Tuned(_Declared):
    """Arms that are each trained at their own best learning rate.

    The rate of an arm is chosen with the seeds ``tuning``. A grid whose best rate is at an end is widened for that arm by a
    neighbour × 1.5 away, up to `WIDEN` times. The arm is then reported with the seeds ``reporting``.
    """

    tuning: tuple[int, ...] = (101,)
    reporting: tuple[int, ...] = (1, 2, 3, 4, 5)
    widen: int = WIDEN

    @property
    def configuration(self) -> dict[str, Any]:
        seeds = {"tuning seeds": self.tuning, "seeds": self.reporting}
        return {**self.setting, "arms": self.arms, "first grid": self.grids(), **seeds}

    @property
    def least(self) -> int:
        return sum(len(self.rates(arm)) * len(self.tuning) + len(self.reporting) for arm in self.arms)

    def compute(self, jobs: int = 1, bar: tqdm | None = None) -> dict[str, Any]:
        """{"chosen": {arm: {lr, inside, why, grid}}, "rows": [...]}, one row a training."""
        grids, rows, chosen = {arm: self.rates(arm) for arm in self.arms}, {}, {}

        def train(runs: list[dict[str, Any]]) -> None:
            found = kept(self.name, runs, self.train, jobs=jobs, bar=bar)
            rows.update(((row["arm"], row["lr"], row["seed"]), row) for row in found)

        train([run for arm in self.arms for run in self.runs(arm, grids[arm], self.tuning)])
        for left in range(self.widen, -1, -1):  # how often a grid may still be widened
            wider = []
            for arm in (arm for arm in self.arms if arm not in chosen):
                lr = best(rows.values(), "lr", arm=arm, seed=self.tuning, lr=tuple(grids[arm]))
                if left and lr in (min(grids[arm]), max(grids[arm])):
                    grids[arm].append(float(f"{lr / RATIO if lr == min(grids[arm]) else lr * RATIO:.3g}"))
                    wider += self.runs(arm, grids[arm][-1:], self.tuning)
                else:
                    inside = interior(lr, grids[arm])
                    chosen[arm] = {"lr": lr, "inside": bool(inside), "why": str(inside), "grid": sorted(grids[arm])}
            if bar is not None:
                bar.total += len(wider)
            train(wider)
        train([run for arm in self.arms for run in self.runs(arm, [chosen[arm]["lr"]], self.reporting)])
        return {"chosen": {arm: chosen[arm] for arm in self.arms}, "rows": self.told(rows.values())}


@dataclass(frozen=True, kw_only=True)
class Crossed(_Declared):
    """Every arm at every learning rate of its grid with every seed: for basins, and where divergence is the question."""

    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)

    @property
    def configuration(self) -> dict[str, Any]:
        return {**self.setting, "arms": self.arms, "grid": self.grids(), "seeds": self.seeds}

    @property
    def least(self) -> int:
        return sum(len(self.rates(arm)) * len(self.seeds) for arm in self.arms)

    def compute(self, jobs: int = 1, bar: tqdm | None = None) -> dict[str, Any]:
        """{"rows": [...]}, one row a training."""
        runs = [run for arm in self.arms for run in self.runs(arm, self.rates(arm), self.seeds)]
        return {"rows": self.told(kept(self.name, runs, self.train, jobs=jobs, bar=bar))}


def reported(found: Mapping[str, Any], seeds: Sequence[int]) -> dict[str, dict[int, float]]:
    """{arm: {seed: final}} of what a `Tuned` found: its reporting seeds at each arm's chosen rate."""
    return {
        arm: by_seed(found["rows"], arm=arm, lr=chosen["lr"], seed=tuple(seeds))
        for arm, chosen in found["chosen"].items()
    }


def declared(modules: Iterable[str]) -> list[_Declared]:
    """The comparisons that modules of the package declare, in their order, each once."""
    found: dict[int, _Declared] = {}
    for module in modules:
        values = vars(importlib.import_module(f"cs336lite.{module}")).values()
        found |= {id(value): value for value in values if isinstance(value, _Declared)}
    return list(found.values())


def compute_all(
    root: Path, lecture: str, *, jobs: int = 1, only: Sequence[str] = (), progress: bool = True
) -> Iterator[str]:
    """Compute what the modules of a lecture declare and write the records; a sentence on each as it is done.

    A bar shows how many runs there are at least, and the time that they will take. What was kept before is not trained again.

    Args:
        root: the full repository.
        lecture: its number or the name of its notebook: ``04``, ``04_hyperparameters``.
        jobs: processes, each with one thread.
        only: names of records; by default all.

    Raises:
        CourseError: nothing is declared, or no record has such a name.
    """
    texts = root / "notebooks" / "text"
    found = sorted(
        path for place in (texts, texts / "appendix") for path in place.glob(f"{lecture.split('_')[0]}_*.py")
    )
    if not found or not found[0].stem.startswith(lecture):
        raise CourseError(f"there is no lecture {lecture} in {texts}: say its number, such as 04")
    text = found[0]
    all_of = {one.name: one for one in declared(text_modules(read_text(text), text.stem))}
    if not all_of:
        raise CourseError(
            f"the modules of {text.stem} declare no sweeps: CS336LITE_RECOMPUTE=all and a build compute its results"
        )
    if unknown := [name for name in only if name not in all_of]:
        raise CourseError(f"{text.stem} has no {', '.join(unknown)}; it has {', '.join(all_of)}")
    if jobs < 1:
        raise CourseError(f"jobs is {jobs}: at least one process computes")
    chosen = [one for name, one in all_of.items() if not only or name in only]
    with tqdm(total=sum(one.least for one in chosen), disable=not progress, unit="run", smoothing=0) as bar:
        for one in chosen:
            bar.set_description(one.name)
            write(f"{one.name}.json", one.compute(jobs, bar), one.configuration, folder=root / "notebooks" / "results")
            yield f"notebooks/results/{one.name}.json: written"
