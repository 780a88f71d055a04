"""The token that reaches p is dropped.

fails: sampling.top_p_reaches_p, sampling.sampling_at_the_edges, sampling.sampling_together
names: drops the token that reaches p
"""

from _base import *


def keep_p(p, top_p):
    if top_p == 1:
        return p
    ordered, order = p.sort(dim=-1, descending=True, stable=True)
    kept = ordered.cumsum(-1) <= top_p
    kept[..., 0] = True
    return normalised(torch.where(kept.gather(-1, order.argsort(-1)), p, 0.0))
