"""Experts have a capacity.

fails: dispatch.nothing_is_dropped
names: tokens are dropped
"""

from _base import *


def dispatch(x, weights, indices, experts):
    refuse(indices, experts)
    tokens, gates, chosen = rows_of(x), rows_of(weights), rows_of(indices)
    capacity = max(16, int(1.25 * chosen.numel() / len(experts)))
    out = start(tokens, gates)
    for e in range(len(experts)):
        rows, places = where(chosen, e)
        rows, places = rows[:capacity], places[:capacity]
        if rows.numel():
            out = add(out, rows, weigh(call(experts[e], tokens[rows]), gates, rows, places))
    return finish(out, x)
