"""Runs without gradients.

fails: dispatch.dispatch_has_gradients, dispatch.dispatch_together
names: no gradient flows through dispatch to x
"""

from _base import *


def dispatch(x, weights, indices, experts, inner=dispatch):
    with torch.no_grad():
        return inner(x, weights, indices, experts)
