"""topk fails when k is above the size of the vocabulary.

fails: sampling.top_k_keeps_k
names: above the size of the vocabulary fails
"""

from _base import *


def keep_k(p, k):
    values, ids = p.topk(k, dim=-1)
    ids = p.sort(dim=-1, descending=True, stable=True).indices[..., :k]
    return normalised(torch.zeros_like(p).scatter(-1, ids, p.gather(-1, ids)))
