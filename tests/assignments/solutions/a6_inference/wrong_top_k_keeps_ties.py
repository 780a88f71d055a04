"""All tokens as probable as the k-th are kept.

fails: sampling.sampling_at_the_edges
names: keeps all of several equal tokens
"""

from _base import *


def keep_k(p, k):
    return normalised(torch.where(p >= p.topk(min(k, p.shape[-1])).values[..., -1:], p, 0.0))
