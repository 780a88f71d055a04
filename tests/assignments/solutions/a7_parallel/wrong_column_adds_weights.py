"""The gradient of the weight is taken for a share of a sum.

fails: tensor.column_parallel, tensor.tensor_together, tensor.uneven_parts
names: is added over ranks, though it was complete
"""

from _base import *


def column_backward(rank, world_size, x, weight, grad_y):
    grad_x = yield AllReduce(grad_y @ weight)
    return grad_x, weight_gradient(grad_y, x) * world_size
