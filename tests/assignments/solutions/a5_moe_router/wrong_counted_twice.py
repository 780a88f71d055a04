"""Goes through the places, and each time takes all of them.

fails: dispatch.results_add_up, dispatch.own_tokens_only, dispatch.dispatch_together
names: counted twice
"""

from _base import *


def dispatch(x, weights, indices, experts, inner=dispatch):
    return sum(inner(x, weights, indices, experts) for _ in range(indices.shape[-1]))
