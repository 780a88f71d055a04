"""A draft is accepted only where p is at least q.

fails: speculative.acceptance, speculative.speculative_together
names: always refused
"""

from _base import *


def accepts(u, q, p):
    return bool(p >= q)
