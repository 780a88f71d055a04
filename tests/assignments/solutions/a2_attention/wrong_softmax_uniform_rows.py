"""Gives equal weights in a row of nothing but -inf.

fails: softmax.nothing_to_choose, attention.nothing_to_attend_to
names: all weights are equal there
"""

from _base import *


before = softmax


def softmax(x, dim):
    none = x.isneginf().all(dim, keepdim=True)
    return torch.where(none, 1 / x.shape[dim], before(x, dim))
