"""Shares of a sum are averaged.

fails: tensor.row_parallel, tensor.uneven_parts, tensor.tensor_together
names: is a mean over ranks
"""

from _base import *


def row_forward(rank, world_size, x, weight):
    return (yield AllReduce(x @ weight.T)) / world_size
