"""Positions go through bfloat16 before they are multiplied, whatever x is.

fails: angles.angles_are_exact_far_away
names: can no longer be told apart
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def all_positions(self):
        return torch.arange(self.max_seq_len).bfloat16().double()
