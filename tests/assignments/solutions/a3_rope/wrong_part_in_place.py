"""Writes the turned part into x.

fails: partial.x_stays_as_it_is
names: x is changed in place
"""

from _base import *


def rotate_part(rope, x, token_positions, rotary_dim):
    x[..., :rotary_dim] = rope(x[..., :rotary_dim], token_positions)
    return x
