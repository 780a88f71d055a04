"""Fails where nothing is left.

fails: partial.the_part_may_be_all
names: nothing is left to put behind
"""

from _base import *


def rotate_part(rope, x, token_positions, rotary_dim):
    rest = x[..., rotary_dim:]
    return torch.cat((rope(x[..., :rotary_dim], token_positions), rest / (rest.shape[-1] // rest.shape[-1])), -1)
