"""Ignores dim: always the last dimension.

fails: softmax.along_the_dimension, softmax.softmax_together
names: dim is ignored: the weights always run along the last dimension
"""

from _base import *


along = softmax


def softmax(x, dim):
    return along(x, -1)
