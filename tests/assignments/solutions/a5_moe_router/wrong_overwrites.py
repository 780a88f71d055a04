"""The second expert of a token overwrites the first.

fails: dispatch.results_add_up, dispatch.dispatch_together
names: only one of a token
"""

from _base import *


def add(out, rows, y):
    return out.index_copy(0, rows, y.to(out.dtype))
