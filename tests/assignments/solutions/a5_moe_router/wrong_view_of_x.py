"""A view of x in dispatch.

fails: dispatch.any_dimensions
names: not contiguous
points: 95-99.5
"""

from _base import *


def dispatch(x, weights, indices, experts, inner=dispatch):
    return inner(x.view(-1, x.shape[-1]), weights, indices, experts).view(x.shape)
