"""Asserts instead of raising.

fails: positions.positions_too_far_are_refused, positions.negative_positions_are_refused
names: it raises AssertionError
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def check_positions(self, positions):
        assert positions.min() >= 0 and positions.max() < self.max_seq_len
