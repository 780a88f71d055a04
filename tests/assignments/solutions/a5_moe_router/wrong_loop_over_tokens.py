"""Calls an expert for each token.

fails: dispatch.calls_do_not_grow, dispatch.work_does_not_grow
names: gather the tokens
"""

from _base import *


def dispatch(x, weights, indices, experts):
    refuse(indices, experts)
    tokens, gates, chosen = rows_of(x), rows_of(weights), rows_of(indices)
    out = []
    for token, row, numbers in zip(tokens, gates, chosen):
        out.append(sum(gate * experts[e](token[None])[0] for gate, e in zip(row, numbers.tolist())))
    return finish(torch.stack(out), x)
