"""min_p is taken as a probability.

fails: sampling.min_p_of_the_greatest, sampling.sampling_together
names: min_p is a share of the greatest probability
"""

from _base import *


def keep_min(p, min_p):
    return normalised(torch.where((p >= min_p) | (p == p.amax(-1, keepdim=True)), p, 0.0))
