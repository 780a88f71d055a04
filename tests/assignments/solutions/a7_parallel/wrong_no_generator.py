"""What asks nobody is a plain function.

fails: tensor.column_parallel, tensor.uneven_parts, tensor.tensor_together
names: gives no generator
"""

from _base import *


def column_forward(rank, world_size, x, weight):
    return x @ weight.T
