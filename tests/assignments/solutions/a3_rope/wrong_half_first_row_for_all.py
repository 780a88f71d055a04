"""In the second layout all rows of a batch take the positions of the first.

fails: positions.rows_have_their_own_positions, positions.heads_share_the_positions_of_their_row
names: with layout="half": batched positions are ignored
points: 93-99
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def rows(self, x, positions):
        if self.layout == "half":
            positions = positions.reshape(-1, positions.shape[-1])[0]
        return super().rows(x, positions)
