"""Speeds from 1 to 1 / theta, both included.

fails: angles.speeds_of_the_pairs, module.whole_rotations_agree
names: divided by d_k - 2
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def speeds(self):
        return self.theta ** -torch.linspace(0, 1, self.d_k // 2, dtype=torch.float64)
