"""A refused draft is replaced by a token of |p - q|.

fails: speculative.replacement, speculative.speculative_together
names: is filled from |p - q|
"""

from _base import *


def in_place_of(p, q, x):
    return (p - q).abs()
