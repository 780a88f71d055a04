"""The first token is taken for position 1.

fails: angles.nothing_turns_at_position_zero, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: positions are off by one
points: 68-74
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def all_positions(self):
        return torch.arange(1, self.max_seq_len + 1)
