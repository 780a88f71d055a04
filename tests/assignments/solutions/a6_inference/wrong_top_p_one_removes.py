"""top_p = 1 removes what comes after a rounded sum of 1.

fails: sampling.sampling_at_the_edges
names: top_p = 1 removes
"""

from _base import *

keep_right = keep_p


def keep_p(p, top_p):
    ordered, order = p.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    kept = before < top_p if top_p < 1 else before < 1 - 1e-7
    return normalised(torch.where(kept.gather(-1, order.argsort(-1)), p, 0.0))
