"""The 2 of the exponent is in the step of arange and is put in once more.

fails: angles.speeds_of_the_pairs, module.whole_rotations_agree
names: the exponent is twice as large
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def speeds(self):
        return self.theta ** (-2 * torch.arange(0, self.d_k, 2, dtype=torch.float64) / self.d_k)
