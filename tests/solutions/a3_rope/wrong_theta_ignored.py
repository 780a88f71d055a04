"""The base is always 10,000.

fails: angles.speeds_of_the_pairs, module.whole_rotations_agree
names: theta is ignored
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def speeds(self):
        return 10_000.0 ** -(torch.arange(0, self.d_k, 2, dtype=torch.float64) / self.d_k)
