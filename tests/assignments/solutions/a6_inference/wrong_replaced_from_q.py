"""A refused draft is replaced by a token of q.

fails: speculative.replacement, speculative.speculative_together
names: is filled from q
"""

from _base import *


def in_place_of(p, q, x):
    return q
