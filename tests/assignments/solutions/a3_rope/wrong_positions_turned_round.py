"""The positions of a call are turned round.

fails: angles.nothing_turns_at_position_zero, rotation.dtype_is_kept, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.positions_in_any_order, positions.rows_have_their_own_positions, positions.heads_share_the_positions_of_their_row, positions.any_number_of_dimensions, positions.positions_too_far_are_refused, positions.negative_positions_are_refused, positions.whole_batches_agree, module.a_converted_module_is_as_exact, module.scores_of_a_model_agree
names: counted backwards
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def rows(self, x, positions):
        return super().rows(x, positions.flip(-1) if positions.dim() else positions)
