"""Pulls positions that do not exist to the nearest that does.

fails: positions.positions_too_far_are_refused, positions.negative_positions_are_refused
names: a position of max_seq_len or more
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def rows(self, x, positions):
        return super().rows(x, positions.clamp(0, self.max_seq_len - 1))
