"""A token with exactly the share that min-p asks for goes.

fails: sampling.sampling_at_the_edges
names: exactly that share stays
"""

from _base import *


def keep_min(p, min_p):
    return normalised(torch.where(p > min_p * p.max(-1, keepdim=True).values, p, 0.0))
