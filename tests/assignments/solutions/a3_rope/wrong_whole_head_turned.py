"""Gives the whole head to rope.

fails: partial.the_first_part_is_turned, partial.whole_parts_agree
names: the whole head is given to rope
points: 93-99
"""

from _base import *


def rotate_part(rope, x, token_positions, rotary_dim):
    return rope(x, token_positions)
