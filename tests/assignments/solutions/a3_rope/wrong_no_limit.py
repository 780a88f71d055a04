"""Computes angles for any position, without a table and without a limit.

fails: positions.positions_too_far_are_refused, positions.negative_positions_are_refused
names: a position of max_seq_len or more
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def rows(self, x, positions):
        angles = positions[..., None] * self.speeds()
        return angles.cos().float(), angles.sin().float()
