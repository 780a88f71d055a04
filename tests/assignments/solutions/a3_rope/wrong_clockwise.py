"""The signs of the sine are exchanged.

fails: rotation.pairs_turn_counter_clockwise, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: the sign of the sine is wrong
points: 67-73
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def turn(self, first, second, cos, sin):
        return first * cos + second * sin, second * cos - first * sin
