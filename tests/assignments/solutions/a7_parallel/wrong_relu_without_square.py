"""The square is missing.

fails: tensor.whole_feed_forward, tensor.uneven_parts, tensor.tensor_together
names: lacks the square
"""

from _base import *


def feed_forward(rank, world_size, x, w1, w2):
    return (yield AllReduce((x @ w1.T).relu() @ w2.T))
