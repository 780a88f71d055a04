"""Takes the positions of the first row for the whole batch.

fails: positions.rows_have_their_own_positions, positions.heads_share_the_positions_of_their_row, positions.whole_batches_agree
names: batched positions are ignored
points: 85-91
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def rows(self, x, positions):
        self.check_positions(positions)
        positions = positions.reshape(-1, positions.shape[-1])[0]
        return self.cos[positions], self.sin[positions]
