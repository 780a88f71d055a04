"""Logits are divided by a tiny temperature before the greatest is subtracted.

fails: sampling.sampling_at_the_edges
names: a temperature near 0
"""

from _base import *


def heated(z, temperature):
    return torch.softmax(z / temperature, dim=-1)
