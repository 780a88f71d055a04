"""theta ** (-i / d_k).

fails: angles.speeds_of_the_pairs, module.whole_rotations_agree
names: the exponent is half as large
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def speeds(self):
        return self.theta ** -(torch.arange(self.d_k // 2, dtype=torch.float64) / self.d_k)
