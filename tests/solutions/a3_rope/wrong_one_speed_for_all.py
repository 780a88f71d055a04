"""All pairs turn like the first.

fails: angles.speeds_of_the_pairs, module.whole_rotations_agree
names: all pairs turn at the same speed
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def speeds(self):
        return torch.ones(self.d_k // 2, dtype=torch.float64)
