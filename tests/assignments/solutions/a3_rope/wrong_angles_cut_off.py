"""Leaves of each angle what is above a multiple of 3.14.

fails: angles.angles_are_exact_far_away, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: others than near 0
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def angles(self, positions):
        return super().angles(positions).fmod(3.14159)
