"""What top_p leaves does not add up to 1.

fails: sampling.top_p_reaches_p, sampling.sampling_at_the_edges, sampling.sampling_together
names: not divided by its sum after top_p
"""

from _base import *

normalise_all, keep_right = normalised, keep_p


def keep_p(p, top_p):
    return torch.where(keep_right(p, top_p) > 0, p, 0.0)
