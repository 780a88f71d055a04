"""Takes a matrix and nothing else.

fails: dispatch.any_dimensions
names: (batch, seq, d_model)
"""

from _base import *


def dispatch(x, weights, indices, experts, inner=dispatch):
    tokens, d_model = x.shape
    return inner(x, weights, indices, experts)
