"""Computes in bfloat16 what comes in bfloat16.

fails: softmax.bfloat16_in_float32
names: compute in float32
points: 99-100
"""

from _base import *


def softmax(x, dim):
    peak = x.detach().amax(dim, keepdim=True)
    powers = (x - torch.where(peak.isneginf(), 0, peak)).exp()
    total = powers.sum(dim, keepdim=True)
    return powers / torch.where(total == 0, 1, total)
