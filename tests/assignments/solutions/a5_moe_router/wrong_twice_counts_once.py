"""Adds by an index that stands there twice.

fails: dispatch.twice_in_a_row
names: counts once
"""

from _base import *


def add(out, rows, y):
    out = out.clone()
    out[rows] += y.to(out.dtype)
    return out
