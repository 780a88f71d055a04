"""Takes the angles for degrees.

fails: angles.speeds_of_the_pairs, angles.ordinary_heads_turn_at_the_right_speeds, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: taken for degrees
points: 61-67
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def angles(self, positions):
        return torch.deg2rad(super().angles(positions))
