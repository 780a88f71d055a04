"""Ratios that have a target. A benchmark tells each as it is known, and `all.py` shows those of all of them together."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "CS336LITE_BENCH_RATIOS"
"""The variable that names the file which `all.py` reads, a line of JSON a ratio."""


@dataclass(frozen=True)
class Ratio:
    """What was compared, the ratio that a run found, and its target: a least or a most."""

    name: str
    value: float
    target: float
    least: bool

    @property
    def reached(self) -> bool:
        return self.value >= self.target if self.least else self.value <= self.target


def told(name: str, value: float, *, at_least: float | None = None, at_most: float | None = None) -> bool:
    """Whether a ratio reaches its one target; it is kept for `all.py` where that has started the benchmark.

    Raises:
        ValueError: neither or both of ``at_least`` and ``at_most`` are given.
    """
    if (at_least is None) == (at_most is None):
        raise ValueError(f"{name}: a ratio has one target, at_least or at_most")
    least = at_least is not None
    ratio = Ratio(name, float(value), float(at_least if least else at_most), least)
    if path := os.environ.get(FILE):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(ratio)) + "\n")
    return ratio.reached


def read(path: Path) -> list[Ratio]:
    """The ratios that were told to a file, in order."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Ratio(**json.loads(line)) for line in lines]
