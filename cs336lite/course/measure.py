"""What every lecture does when it measures: `reveal` a value beside the reader's guess, and time functions fairly."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from cs336lite.course.predict import reveal

__all__ = ["best_seconds", "reveal"]


def best_seconds(*functions: Callable[[], object], least: float = 0.3) -> list[float]:
    """The shortest time of each function, run in turn, at least 4 times and ``least`` seconds.

    In turn, because other programs slow down whatever runs beside them; the shortest, because they only add time.
    """
    rounds: list[list[float]] = []
    while len(rounds) < 4 or np.sum(rounds) < least * len(functions):
        rounds.append([])
        for function in functions:
            start = time.perf_counter()
            function()
            torch = sys.modules.get("torch")
            if torch is not None and torch.cuda.is_initialized():
                torch.cuda.synchronize()  # a GPU works on after the call has returned
            rounds[-1].append(time.perf_counter() - start)
    return np.min(rounds, axis=0).tolist()
