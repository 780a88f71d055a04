"""Divides by k.

fails: dispatch.results_add_up, dispatch.dispatch_together
names: averaged
"""

from _base import *


def dispatch(x, weights, indices, experts, inner=dispatch):
    return inner(x, weights, indices, experts) / indices.shape[-1]
