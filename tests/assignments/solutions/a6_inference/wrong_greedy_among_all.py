"""A temperature of 0 shares the probability among all of the greatest.

fails: sampling.sampling_at_the_edges
names: the first of the greatest
"""

from _base import *


def greedy(z):
    return normalised((z == z.amax(-1, keepdim=True)).to(z.dtype))
