"""Adds sines and cosines to x, as the original Transformer did.

fails: angles.speeds_of_the_pairs, angles.nothing_turns_at_position_zero, angles.angles_are_exact_far_away, rotation.neighbours_form_pairs, rotation.each_pair_has_its_own_speed, rotation.lengths_are_kept, module.whole_rotations_agree
names: pairs do not turn
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def turn(self, first, second, cos, sin):
        return first + sin, second + cos
