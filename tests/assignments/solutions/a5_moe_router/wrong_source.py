"""Assignments are taken to stand place by place: number a of token a % n.

fails: dispatch.results_add_up, dispatch.dispatch_together
names: results of other tokens
points: 50-80
"""

from _base import *


def dispatch(x, weights, indices, experts):
    refuse(indices, experts)
    tokens, chosen = x.reshape(-1, x.shape[-1]), indices.reshape(-1)
    counts = torch.bincount(chosen, minlength=len(experts)).tolist()
    order = chosen.argsort(stable=True)
    source = order % len(tokens)
    parts = tokens[source].split(counts)
    outputs = [expert(part) for expert, part in zip(experts, parts) if len(part)]
    weighted = torch.cat(outputs) * weights.reshape(-1)[order, None]
    combined = weighted.new_zeros(tokens.shape).index_add(0, source, weighted)
    return combined.to(x.dtype).reshape(x.shape)
