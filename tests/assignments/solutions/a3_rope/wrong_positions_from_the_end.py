"""Positions are counted from the end.

fails: angles.nothing_turns_at_position_zero, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.the_last_position_is_known, positions.whole_batches_agree, module.scores_of_a_model_agree
names: counted backwards
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def rows(self, x, positions):
        return super().rows(x, self.max_seq_len - 1 - positions)
