"""Subtracts the greatest score of the whole tensor.

fails: softmax.scores_of_any_size
names: is the greatest score of the whole tensor subtracted
"""

from _base import *


@in_float32
def softmax(x, dim):
    powers = (x - x.detach().amax()).exp()
    total = powers.sum(dim, keepdim=True)
    none = x.isneginf().all(dim, keepdim=True)
    return powers / total.masked_fill(none, 1)
