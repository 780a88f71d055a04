"""grad_x of a row-parallel layer is added over ranks, where parts are of one size.

fails: tensor.row_parallel, tensor.uneven_parts, tensor.tensor_together
names: of row_backward is wrong
"""

from _base import *


def row_backward(rank, world_size, x, weight, grad_y):
    return (yield AllReduce(grad_y @ weight)), weight_gradient(grad_y, x)
