"""Multiplies in place what an expert returns.

fails: dispatch.dispatch_has_gradients
names: changed in place
points: 95-99.5
"""

from _base import *


def weigh(y, gates, rows, places):
    y *= gates[rows, places, None]
    return y
