"""top_k keeps k + 1.

fails: sampling.top_k_keeps_k, sampling.sampling_at_the_edges, sampling.sampling_together
names: one token too many
may: sampling.top_p_reaches_p
"""

from _base import *


def keep_k(p, k):
    return normalised(torch.where(by_rank(p) <= k, p, 0.0))
