"""u * q <= p accepts what the target never says.

fails: speculative.acceptance
names: when u is 0
"""

from _base import *


def accepts(u, q, p):
    return bool(u * q <= p)
