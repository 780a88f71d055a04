"""Divides by a tiny number where the sum is 0, so that the gradient overflows.

fails: softmax.nothing_to_learn
names: has NaN in its gradient
"""

from _base import *


@in_float32
def softmax(x, dim):
    peak = x.detach().amax(dim, keepdim=True)
    powers = (x - torch.where(peak.isneginf(), 0, peak)).exp()
    return powers / powers.sum(dim, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
