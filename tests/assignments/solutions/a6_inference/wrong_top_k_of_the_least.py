"""top_k keeps the least probable tokens.

fails: sampling.top_k_keeps_k, sampling.top_p_reaches_p, sampling.sampling_together
names: keeps the least probable tokens
"""

from _base import *


def keep_k(p, k):
    return normalised(torch.where(by_rank(-p) < k, p, 0.0))
