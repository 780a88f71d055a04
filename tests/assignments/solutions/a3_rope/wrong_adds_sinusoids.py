"""Adds sines and cosines to x, as the original Transformer did.

fails: angles.nothing_turns_at_position_zero, rotation.neighbours_form_pairs, rotation.each_pair_has_its_own_speed, rotation.lengths_are_kept, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: vectors at position 0 are changed
points: 63-69
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def turn(self, first, second, cos, sin):
        return first + sin, second + cos
