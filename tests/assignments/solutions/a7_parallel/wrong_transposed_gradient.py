"""The gradient of a row-parallel weight stands on its side.

fails: tensor.row_parallel, tensor.uneven_parts, tensor.tensor_together
names: has not the shape
"""

from _base import *


def row_backward(rank, world_size, x, weight, grad_y):
    yield from ()
    return grad_y @ weight, weight_gradient(grad_y, x).T
