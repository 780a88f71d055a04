"""Detaches what it does not turn.

fails: partial.whole_parts_agree
names: the gradient of x is not
"""

from _base import *


def rotate_part(rope, x, token_positions, rotary_dim):
    return torch.cat((rope(x[..., :rotary_dim], token_positions), x[..., rotary_dim:].detach()), -1)
