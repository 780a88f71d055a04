"""Adds an axis for heads to batched positions, also where there is one.

fails: positions.heads_share_the_positions_of_their_row, positions.whole_batches_agree
names: positions of shape (batch, 1, seq)
points: 87-93
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def rows(self, x, positions):
        if positions.dim() > 2:
            positions = positions.flatten(0, -2)
        return super().rows(x, positions)
