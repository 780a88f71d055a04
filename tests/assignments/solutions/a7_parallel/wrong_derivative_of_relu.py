"""The derivative is that of the relu alone.

fails: tensor.whole_feed_forward, tensor.uneven_parts, tensor.tensor_together
names: grad_x of feed_forward_backward is wrong
"""

from _base import *


def feed_forward_backward(rank, world_size, x, w1, w2, grad_y):
    hidden = (x @ w1.T).relu()
    grad_hidden = (grad_y @ w2) * (hidden > 0)
    grad_x = yield AllReduce(grad_hidden @ w1)
    return grad_x, weight_gradient(grad_hidden, x), weight_gradient(grad_y, hidden.square())
