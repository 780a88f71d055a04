"""Every draft is accepted.

fails: speculative.acceptance, speculative.replacement, speculative.both_ends, speculative.speculative_together
names: every draft is accepted
"""

from _base import *


def accepts(u, q, p):
    return True
