"""Takes x of four dimensions, and of no others.

fails: positions.any_number_of_dimensions, positions.rows_have_their_own_positions, layouts.whole_halves_agree, rotation.whole_rotations_agree, positions.whole_batches_agree
names: x with two, three, five or six dimensions
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def forward(self, x, token_positions):
        batch, heads, seq, d_k = x.shape
        return super().forward(x, token_positions)
