"""A draft is accepted with probability p.

fails: speculative.acceptance, speculative.both_ends, speculative.speculative_together
names: are accepted with probability p(x)
"""

from _base import *


def accepts(u, q, p):
    return bool(u < p)
