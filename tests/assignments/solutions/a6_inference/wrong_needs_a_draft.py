"""A step without drafts fails.

fails: speculative.both_ends
names: without drafts
"""

from _base import *


def speculative_step(draft, q, p, u, right=speculative_step):
    assert draft.max() >= 0
    return right(draft, q, p, u)
