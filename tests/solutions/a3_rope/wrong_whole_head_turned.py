"""Gives the whole head to rope.

fails: partial.the_first_part_is_turned, partial.the_rest_stays
names: the whole head is given to rope
"""

from _base import *


def rotate_part(rope, x, token_positions, rotary_dim):
    return rope(x, token_positions)
