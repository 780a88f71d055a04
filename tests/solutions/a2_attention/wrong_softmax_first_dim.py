"""Ignores dim: always the first dimension.

fails: softmax.along_the_dimension, attention.weights_run_over_keys, attention.lengths_differ, attention.broadcasts, attention.mask_broadcasts
names: dim is ignored: the weights always run along the first dimension
"""

from _base import *


along = softmax


def softmax(x, dim):
    return along(x, 0)
