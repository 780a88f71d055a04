"""Tokens are sorted by expert, and gates are not.

fails: dispatch.gates_multiply_results, dispatch.dispatch_together
names: in different orders
"""

from _base import *


def dispatch(x, weights, indices, experts):
    refuse(indices, experts)
    tokens, k = rows_of(x), indices.shape[-1]
    order = indices.reshape(-1).argsort(stable=True)
    counts = torch.bincount(indices.reshape(-1), minlength=len(experts)).tolist()
    parts = tokens[order // k].split(counts)
    out = torch.cat([expert(part) for expert, part in zip(experts, parts)]) * weights.reshape(-1, 1)
    return finish(add(start(tokens, weights), order // k, out), x)
