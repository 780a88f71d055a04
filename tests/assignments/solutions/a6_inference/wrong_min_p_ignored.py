"""min_p has no effect.

fails: sampling.min_p_of_the_greatest, sampling.sampling_at_the_edges, sampling.sampling_together
names: min_p has no effect
"""

from _base import *


def keep_min(p, min_p):
    return p
