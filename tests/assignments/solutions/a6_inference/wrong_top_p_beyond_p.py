"""Where the more probable tokens reach p exactly, one more is kept.

fails: sampling.sampling_at_the_edges
names: reach p exactly
"""

from _base import *


def keep_p(p, top_p):
    if top_p == 1:
        return p
    ordered, order = p.sort(dim=-1, descending=True, stable=True)
    kept = ordered.cumsum(-1) - ordered <= top_p
    return normalised(torch.where(kept.gather(-1, order.argsort(-1)), p, 0.0))
