"""Every expert computes every token, and most of it is thrown away.

fails: dispatch.own_tokens_only
names: every expert gets all tokens
"""

from _base import *


def dispatch(x, weights, indices, experts):
    refuse(indices, experts)
    tokens, gates, chosen = rows_of(x), rows_of(weights), rows_of(indices)
    out = start(tokens, gates)
    for e, expert in enumerate(experts):
        out = out + expert(tokens) * (gates * (chosen == e)).sum(-1, keepdim=True)
    return finish(out, x)
