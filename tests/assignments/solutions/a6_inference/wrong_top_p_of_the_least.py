"""top_p begins with the least probable tokens.

fails: sampling.top_p_reaches_p, sampling.sampling_together
names: begin with the most probable
"""

from _base import *


def keep_p(p, top_p):
    if top_p == 1:
        return p
    ordered, order = p.sort(dim=-1)
    kept = ordered.cumsum(-1) - ordered < top_p
    return normalised(torch.where(kept.gather(-1, order.argsort(-1)), p, 0.0))
