"""Divides the gates by their sum once more.

fails: dispatch.gates_multiply_results, dispatch.results_add_up, dispatch.dispatch_together
names: divided by their sum once more
"""

from _base import *


def dispatch(x, weights, indices, experts, inner=dispatch):
    return inner(x, weights / weights.sum(-1, keepdim=True), indices, experts)
