"""Turns each pair a second time.

fails: angles.speeds_of_the_pairs, angles.ordinary_heads_turn_at_the_right_speeds, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: twice as far
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def turn(self, first, second, cos, sin):
        return super().turn(*super().turn(first, second, cos, sin), cos, sin)
