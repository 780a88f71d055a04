"""Slices the fourth dimension.

fails: partial.a_part_of_any_batch
names: x of two, three, five or six dimensions
"""

from _base import *


def rotate_part(rope, x, token_positions, rotary_dim):
    return torch.cat((rope(x[:, :, :, :rotary_dim], token_positions), x[:, :, :, rotary_dim:]), -1)
