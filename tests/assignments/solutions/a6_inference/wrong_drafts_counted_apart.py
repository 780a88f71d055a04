"""Accepted drafts are counted also behind a refused one.

fails: speculative.both_ends, speculative.speculative_together
names: more tokens come
"""

from _base import *


def speculative_step(draft, q, p, u):
    k = len(draft)
    places = torch.arange(k)
    n = int((u[:-1] * q[places, draft] < p[places, draft]).sum())
    weights = p[k] if n == k else (p[n] - q[n]).clamp(min=0)
    weights = weights if bool(weights.any()) else p[n]
    more = draw(weights, u[-1])[None]
    return torch.cat([draft[:n], more, draft[n : k - 1] * 0])
