"""y of a row-parallel layer is one rank's share.

fails: tensor.row_parallel, tensor.uneven_parts, tensor.tensor_together
names: an all-reduce is missing
"""

from _base import *


def row_forward(rank, world_size, x, weight):
    yield from ()
    return x @ weight.T
