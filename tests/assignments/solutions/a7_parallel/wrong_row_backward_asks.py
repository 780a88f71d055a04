"""An all-reduce whose answer is not used.

fails: tensor.row_parallel, tensor.uneven_parts, tensor.tensor_together
names: though all that it needs is at hand
"""

from _base import *


def row_backward(rank, world_size, x, weight, grad_y):
    yield AllReduce(torch.zeros(1))
    return grad_y @ weight, weight_gradient(grad_y, x)
