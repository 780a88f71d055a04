"""Both sines have a plus.

fails: rotation.lengths_are_kept, module.whole_rotations_agree
names: a rotation keeps the length
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def turn(self, first, second, cos, sin):
        return first * cos + second * sin, first * sin + second * cos
