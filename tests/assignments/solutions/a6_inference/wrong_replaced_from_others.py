"""A refused draft is replaced by another token of p.

fails: speculative.replacement, speculative.speculative_together
names: without that draft
"""

from _base import *


def in_place_of(p, q, x):
    rest = p.clone()
    rest[x] = 0
    return rest
