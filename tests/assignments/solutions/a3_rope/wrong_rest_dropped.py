"""Returns the turned part alone.

fails: partial.the_first_part_is_turned, partial.whole_parts_agree
names: are dropped
points: 93-99
"""

from _base import *


def rotate_part(rope, x, token_positions, rotary_dim):
    return rope(x[..., :rotary_dim], token_positions)
