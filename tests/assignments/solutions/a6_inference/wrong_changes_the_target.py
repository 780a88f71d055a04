"""The difference is taken in place.

fails: speculative.both_ends
names: changes what it is given
"""

from _base import *


def after_all(p, k):
    p[k] /= 2
    return p[k]
