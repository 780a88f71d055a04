"""The token at the end is drawn with the random number of the refused draft.

fails: speculative.replacement, speculative.speculative_together
names: with the random number of the draft
"""

from _base import *


def speculative_step(draft, q, p, u):
    tokens = []
    for i, x in enumerate(draft.tolist()):
        if not accepts(u[i], q[i, x], p[i, x]):
            tokens.append(int(draw(in_place_of(p[i], q[i], x), u[i])))
            return torch.tensor(tokens)
        tokens.append(x)
    tokens.append(int(draw(after_all(p, len(draft)), u[-1])))
    return torch.tensor(tokens)
