"""Submissions that answer the grader's drivers themselves, with nothing behind the answers, and what they get."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# A submission that answers drivers itself, whatever the grader asks: from then on its ``forged`` are called instead.
FORGE = """
import sys
import torch

frame, forged = sys._getframe(), {}
while not hasattr(frame.f_locals.get("self"), "channel"):
    frame = frame.f_back
kind = type(frame.f_locals["self"])


def run(self, source, function, args, right=kind.run):
    return forged[function](*args) if function in forged else right(self, source, function, args)


kind.run = run


def instead(function):
    forged[function.__name__] = function
    return function
"""


@dataclass(frozen=True)
class Attack:
    name: str
    source: str
    most: float  # what it earns, and at most a few points more


def without_work(nothing: str, shapes: str) -> list[Attack]:
    """Attacks that are worth nothing: empty answers, and answers of the right shapes with any ``number`` in them."""
    return [
        Attack("empty lists for an answer", FORGE + nothing, 0),
        Attack("random numbers", FORGE + shapes + "number = torch.Tensor.normal_", 0),
        Attack("zeros", FORGE + shapes + "number = torch.zeros_like", 0),
        Attack("ones", FORGE + shapes + "number = torch.ones_like", 0),
        Attack("not a number", FORGE + shapes + "number = lambda t: torch.full_like(t, torch.nan)", 0),
        Attack("infinity", FORGE + shapes + "number = lambda t: torch.full_like(t, torch.inf)", 0),
    ]


@contextmanager
def judging(hidden: Sequence[Any]) -> Iterator[Callable[[str, str], float]]:
    """(source, seed) -> the points of a submission, judged behind the wall, in one worker for all."""
    from cs336lite.grading.client import Worker
    from cs336lite.grading.judge import needs_of

    with Worker(needs_of(hidden)) as worker:

        def judged(source: str, seed: str) -> float:
            total = 0.0
            with worker.student((("1", textwrap.dedent(source)),)) as student:
                for one in hidden:
                    student.begin(one.seconds)
                    total += one.run(student, seed).points
            return total

        yield judged
