"""Puts the part that is not turned in front.

fails: partial.the_first_part_is_turned, partial.whole_parts_agree
names: are not what rope makes of them
points: 93-99
"""

from _base import *


def rotate_part(rope, x, token_positions, rotary_dim):
    return torch.cat((x[..., rotary_dim:], rope(x[..., :rotary_dim], token_positions)), -1)
