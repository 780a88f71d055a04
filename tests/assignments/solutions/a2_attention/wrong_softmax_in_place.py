"""Subtracts the maximum in place.

fails: softmax.softmax_changes_nothing
names: x was changed
"""

from _base import *


@in_float32
def softmax(x, dim):
    peak = x.detach().amax(dim, keepdim=True)
    powers = (x.requires_grad and x.sub or x.sub_)(torch.where(peak.isneginf(), 0, peak)).exp()
    total = powers.sum(dim, keepdim=True)
    return powers / torch.where(total == 0, 1, total)
