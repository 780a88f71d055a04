"""Uses the places in the sequence.

fails: positions.positions_in_any_order, positions.rows_have_their_own_positions, positions.heads_share_the_positions_of_their_row, positions.positions_too_far_are_refused, positions.negative_positions_are_refused, positions.whole_batches_agree
names: token_positions are ignored
points: 81-87
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def rows(self, x, positions):
        return self.cos[: x.shape[-2]], self.sin[: x.shape[-2]]
