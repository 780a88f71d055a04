"""Leaves it to indexing to refuse positions.

fails: positions.negative_positions_are_refused
names: counted from the end
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def check_positions(self, positions):
        pass
