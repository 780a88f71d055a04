"""Every expert has places for its even share, and drops what comes later.

fails: dispatch.nothing_is_dropped, dispatch.dispatch_together
names: tokens are dropped
points: 50-81
"""

from _base import *


def dispatch(x, weights, indices, experts):
    refuse(indices, experts)
    tokens, gates, chosen = rows_of(x), rows_of(weights), rows_of(indices)
    capacity = chosen.numel() // len(experts) or 1
    out = start(tokens, gates)
    for e in range(len(experts)):
        rows, places = (part[:capacity] for part in where(chosen, e))
        if rows.numel():
            out = add(out, rows, weigh(call(experts[e], tokens[rows]), gates, rows, places))
    return finish(out, x)
