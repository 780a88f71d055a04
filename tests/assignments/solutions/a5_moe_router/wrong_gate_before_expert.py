"""The gate multiplies what goes in.

fails: dispatch.gates_multiply_results, dispatch.dispatch_together
names: multiply what it returns
"""

from _base import *


def dispatch(x, weights, indices, experts):
    refuse(indices, experts)
    tokens, gates, chosen = rows_of(x), rows_of(weights), rows_of(indices)
    out = start(tokens, gates)
    for e in range(len(experts)):
        rows, places = where(chosen, e)
        if rows.numel():
            out = add(out, rows, experts[e]((tokens[rows] * gates[rows, places, None]).to(x.dtype)))
    return finish(out, x)
