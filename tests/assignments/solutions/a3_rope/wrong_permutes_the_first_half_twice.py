"""Joins the even dimensions with themselves, along any dimension.

fails: layouts.any_dimension_can_be_permuted, layouts.interleaved_to_half_permutes, layouts.weights_move_both_ways
names: does not permute a dimension as it should yet
points: 92-96
"""

from _base import *


def interleaved_to_half(x, dim=-1):
    even = list(range(0, x.shape[dim], 2))
    return x.index_select(dim, torch.tensor(even + even))
