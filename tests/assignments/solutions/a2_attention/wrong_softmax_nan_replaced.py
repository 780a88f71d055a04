"""Replaces NaN by zeros afterwards, so that it comes back in the gradient.

fails: softmax.nothing_to_learn
names: comes back in the gradient
"""

from _base import *


@in_float32
def softmax(x, dim):
    powers = (x - x.amax(dim, keepdim=True)).exp()
    return torch.nan_to_num(powers / powers.sum(dim, keepdim=True))
