"""The gates of a token are taken from the other end.

fails: dispatch.gates_multiply_results, dispatch.dispatch_together
names: are exchanged
"""

from _base import *


def weigh(y, gates, rows, places):
    return y * gates[rows, -1 - places, None]
