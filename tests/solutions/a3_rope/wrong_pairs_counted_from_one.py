"""The paper's index i runs from 1, and its formula has i - 1, which is overlooked.

fails: angles.speeds_of_the_pairs, module.whole_rotations_agree
names: pairs are counted from 1
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def speeds(self):
        return self.theta ** (-2 * torch.arange(1, self.d_k // 2 + 1, dtype=torch.float64) / self.d_k)
