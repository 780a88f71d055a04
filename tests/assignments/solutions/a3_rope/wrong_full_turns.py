"""Takes the angles for full turns.

fails: angles.speeds_of_the_pairs, angles.ordinary_heads_turn_at_the_right_speeds, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: multiplied by 2 pi
"""

import math

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def angles(self, positions):
        return 2 * math.pi * super().angles(positions)
