"""Adds products in float32 to zeros in bfloat16.

fails: dispatch.dtype_of_x
names: fails beside weights in float32
"""

from _base import *


def start(tokens, gates):
    return torch.zeros_like(tokens)


def add(out, rows, y):
    return out.index_add(0, rows, y)
