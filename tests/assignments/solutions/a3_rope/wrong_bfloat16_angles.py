"""Computes angles in bfloat16, whatever x is.

fails: angles.cosines_are_exact, angles.angles_are_exact_far_away
names: rounded to bfloat16
points: 93-99
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def angles(self, positions):
        return positions[:, None].bfloat16() * self.speeds().bfloat16()
