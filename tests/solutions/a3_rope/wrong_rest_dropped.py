"""Returns the turned part alone.

fails: partial.the_first_part_is_turned, partial.the_rest_stays
names: are dropped
"""

from _base import *


def rotate_part(rope, x, token_positions, rotary_dim):
    return rope(x[..., :rotary_dim], token_positions)
