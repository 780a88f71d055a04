"""Computes the sum without gradients.

fails: softmax.softmax_gradient, attention.attention_gradients, multi_head.training_together
names: is a part of it detached
"""

from _base import *


@in_float32
def softmax(x, dim):
    peak = x.detach().amax(dim, keepdim=True)
    powers = (x - torch.where(peak.isneginf(), 0, peak)).exp()
    total = powers.sum(dim, keepdim=True).detach()
    return powers / torch.where(total == 0, 1, total)
