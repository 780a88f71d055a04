"""Only the first expert of a token is asked.

fails: dispatch.results_add_up, dispatch.own_tokens_only, dispatch.dispatch_together
names: only one of a token's experts is left
points: 50-80
"""

from _base import *


def dispatch(x, weights, indices, experts, inner=dispatch):
    refuse(indices, experts)
    return inner(x, weights[..., :1], indices[..., :1], experts)
