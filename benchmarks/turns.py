"""How contenders are measured that run in one process: in turn, by the processor time that each takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def in_turn(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each contender in each of the rounds.

    A round that nobody counts goes first. Each round begins with another contender, so that none always runs behind the
    same one, whose memory it gets. The time of waiting for a busy machine is not counted.
    """
    names, seconds = list(contenders), {name: [] for name in contenders}
    for turn in range(rounds + 1):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = time.process_time()
            contenders[name]()
            if turn:
                seconds[name].append(time.process_time() - start)
    return seconds


def over(seconds: Mapping[str, list[float]], name: str, peer: str) -> float:
    """The median over the rounds of what ``name`` took, divided by what ``peer`` took in the same round.

    >>> over({"ours": [2.0, 3.0, 9.0], "theirs": [1.0, 2.0, 3.0]}, "ours", "theirs")
    2.0
    """
    return statistics.median(ours / theirs for ours, theirs in zip(seconds[name], seconds[peer], strict=True))
