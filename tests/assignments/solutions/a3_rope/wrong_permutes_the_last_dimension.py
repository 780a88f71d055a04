"""Ignores dim.

fails: layouts.any_dimension_can_be_permuted, layouts.weights_move_both_ways
names: dim is ignored
points: 93-99
"""

from _base import *


def interleaved_to_half(x, dim=-1):
    return torch.cat((x[..., 0::2], x[..., 1::2]), -1)


def half_to_interleaved(x, dim=-1):
    return torch.stack(x.chunk(2, -1), -1).flatten(-2)
