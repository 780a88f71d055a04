"""Only a matrix of activations is understood.

fails: tensor.tensor_together
names: your code raised
"""

from _base import *


def weight_gradient(grad_y, x):
    return torch.einsum("no,ni->oi", grad_y, x)
