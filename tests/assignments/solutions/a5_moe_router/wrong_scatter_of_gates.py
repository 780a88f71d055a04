"""A dense table of gates, written by scatter.

fails: dispatch.twice_in_a_row
names: counts once
points: 95-99.5
"""

from _base import *


def dispatch(x, weights, indices, experts, inner=dispatch):
    refuse(indices, experts)
    tokens, gates, chosen = rows_of(x), rows_of(weights), rows_of(indices)
    table = torch.zeros(len(tokens), len(experts), dtype=gates.dtype).scatter(1, chosen, gates)
    asked = torch.zeros(len(tokens), len(experts), dtype=torch.bool).scatter(1, chosen, True)
    out = start(tokens, gates)
    for e, expert in enumerate(experts):
        rows = asked[:, e].nonzero().squeeze(1)
        if len(rows):
            out = add(out, rows, expert(tokens[rows]) * table[rows, e, None])
    return finish(out, x)
