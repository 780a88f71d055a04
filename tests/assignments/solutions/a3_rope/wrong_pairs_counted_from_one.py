"""The paper's index i runs from 1, and its formula has i - 1, which is overlooked.

fails: angles.speeds_of_the_pairs, angles.ordinary_heads_turn_at_the_right_speeds, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: pairs are counted from 1
points: 61-67
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def speeds(self):
        return self.theta ** (-2 * torch.arange(1, self.d_k // 2 + 1, dtype=torch.float64) / self.d_k)
