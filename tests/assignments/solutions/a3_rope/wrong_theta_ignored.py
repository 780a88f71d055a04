"""The base is always 10,000.

fails: angles.speeds_of_the_pairs, angles.ordinary_heads_turn_at_the_right_speeds, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree
names: theta is ignored
points: 67-73
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def speeds(self):
        return 10_000.0 ** -(torch.arange(0, self.d_k, 2, dtype=torch.float64) / self.d_k)
