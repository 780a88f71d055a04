"""theta ** (-i / d_k).

fails: angles.speeds_of_the_pairs, angles.ordinary_heads_turn_at_the_right_speeds, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: the exponent is half as large
points: 61-67
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def speeds(self):
        return self.theta ** -(torch.arange(self.d_k // 2, dtype=torch.float64) / self.d_k)
