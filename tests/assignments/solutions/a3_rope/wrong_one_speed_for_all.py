"""All pairs turn like the first.

fails: angles.speeds_of_the_pairs, angles.ordinary_heads_turn_at_the_right_speeds, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: all pairs turn at the same speed
points: 61-67
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def speeds(self):
        return torch.ones(self.d_k // 2, dtype=torch.float64)
