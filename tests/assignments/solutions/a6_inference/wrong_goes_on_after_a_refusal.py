"""Drafts after a refused one are still looked at.

fails: speculative.both_ends, speculative.speculative_together
names: more tokens come
"""

from _base import *


def speculative_step(draft, q, p, u):
    tokens = []
    for i, x in enumerate(draft.tolist()):
        good = accepts(u[i], q[i, x], p[i, x])
        tokens.append(x if good else int(draw(in_place_of(p[i], q[i], x), u[-1])))
    tokens.append(int(draw(after_all(p, len(draft)), u[-1])))
    return torch.tensor(tokens)
