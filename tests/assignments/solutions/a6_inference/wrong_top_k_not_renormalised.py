"""What top_k leaves does not add up to 1.

fails: sampling.top_k_keeps_k, sampling.top_p_reaches_p, sampling.sampling_at_the_edges, sampling.sampling_together
names: not divided by its sum after top_k
"""

from _base import *


def keep_k(p, k):
    return torch.where(by_rank(p) < k, p, 0.0)
