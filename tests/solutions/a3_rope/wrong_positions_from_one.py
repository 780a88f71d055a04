"""The first token is taken for position 1.

fails: angles.nothing_turns_at_position_zero, module.whole_rotations_agree
names: positions are off by one
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def all_positions(self):
        return torch.arange(1, self.max_seq_len + 1)
