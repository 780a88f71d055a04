"""A temperature of 0 is divided by.

fails: sampling.sampling_at_the_edges
names: a temperature of 0
"""

from _base import *


def greedy(z):
    return torch.softmax(z / 0.0, dim=-1)
