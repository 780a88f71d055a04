"""A draft is accepted with probability q / p.

fails: speculative.acceptance, speculative.replacement, speculative.both_ends, speculative.speculative_together
names: is not accepted exactly where
"""

from _base import *


def accepts(u, q, p):
    return bool(u * p < q)
