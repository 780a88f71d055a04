"""Cuts a piece out of the tables, from the first position on.

fails: positions.positions_in_any_order, positions.rows_have_their_own_positions, positions.heads_share_the_positions_of_their_row, positions.whole_batches_agree
names: only the first position is used
points: 83-89
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def rows(self, x, positions):
        self.check_positions(positions)
        counted = positions[..., :1] + torch.arange(x.shape[-2])
        return self.cos[counted % self.max_seq_len], self.sin[counted % self.max_seq_len]
