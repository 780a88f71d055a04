"""Only the first gate of a token is used.

fails: dispatch.gates_multiply_results, dispatch.dispatch_together
names: the first gate of a token
"""

from _base import *


def weigh(y, gates, rows, places):
    return y * gates[rows, :1]
