"""The minus of the exponent is lost.

fails: angles.speeds_of_the_pairs, module.whole_rotations_agree
names: the exponent has the wrong sign
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def speeds(self):
        return self.theta ** (torch.arange(0, self.d_k, 2, dtype=torch.float64) / self.d_k)
