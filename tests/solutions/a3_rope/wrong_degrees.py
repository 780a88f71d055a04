"""Takes the angles for degrees.

fails: angles.speeds_of_the_pairs, module.whole_rotations_agree
names: taken for degrees
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def angles(self, positions):
        return torch.deg2rad(super().angles(positions))
