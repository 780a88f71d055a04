"""Turns the last dimensions.

fails: partial.the_first_part_is_turned, partial.whole_parts_agree
names: turn these, not the last
points: 93-99
"""

from _base import *


def rotate_part(rope, x, token_positions, rotary_dim):
    rest = x.shape[-1] - rotary_dim
    return torch.cat((x[..., :rest], rope(x[..., rest:], token_positions)), -1)
