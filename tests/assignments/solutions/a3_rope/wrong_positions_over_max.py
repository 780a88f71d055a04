"""The positions are divided by max_seq_len.

fails: angles.speeds_of_the_pairs, angles.angles_are_exact_far_away, angles.ordinary_heads_turn_at_the_right_speeds, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.the_last_position_is_known, positions.whole_batches_agree, module.a_converted_module_is_as_exact, module.scores_of_a_model_agree
names: divided by max_seq_len
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def all_positions(self):
        return torch.arange(self.max_seq_len) / self.max_seq_len
