"""A draft is accepted where u is above p / q.

fails: speculative.acceptance, speculative.replacement, speculative.both_ends, speculative.speculative_together
names: where u is above
"""

from _base import *


def accepts(u, q, p):
    return bool(u * q >= p) or bool(p >= q)
