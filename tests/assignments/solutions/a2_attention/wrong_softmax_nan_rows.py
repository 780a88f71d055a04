"""Divides 0 by 0 in a row of nothing but -inf.

fails: softmax.nothing_to_choose, softmax.nothing_to_learn, attention.nothing_to_attend_to, attention.nothing_to_learn_from
names: 0/0 gives NaN
points: 96-98
"""

from _base import *


@in_float32
def softmax(x, dim):
    powers = (x - x.amax(dim, keepdim=True)).exp()
    return powers / powers.sum(dim, keepdim=True)
