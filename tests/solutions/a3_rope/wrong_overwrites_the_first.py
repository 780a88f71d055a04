"""The second of a pair is computed from the first as it has become.

fails: rotation.lengths_are_kept, module.whole_rotations_agree
names: overwritten before the second
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def turn(self, first, second, cos, sin):
        first = first * cos - second * sin
        return first, first * sin + second * cos
