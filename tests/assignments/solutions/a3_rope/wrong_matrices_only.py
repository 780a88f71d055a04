"""Takes x of two dimensions, and of no others.

fails: positions.any_number_of_dimensions, positions.rows_have_their_own_positions, positions.heads_share_the_positions_of_their_row, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: too many values to unpack
points: 60-70
"""  # noqa: E501

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def forward(self, x, token_positions):
        seq, d_k = x.shape
        return super().forward(x, token_positions)
