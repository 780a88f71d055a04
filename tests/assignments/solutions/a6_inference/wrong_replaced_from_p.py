"""A refused draft is replaced by a token of p.

fails: speculative.replacement, speculative.speculative_together
names: is filled from p:
"""

from _base import *


def in_place_of(p, q, x):
    return p
