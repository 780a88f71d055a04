"""The signs of the sine are exchanged.

fails: rotation.pairs_turn_counter_clockwise, module.whole_rotations_agree
names: the sign of the sine is wrong
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def turn(self, first, second, cos, sin):
        return first * cos + second * sin, second * cos - first * sin
