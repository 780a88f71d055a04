"""Computes angles in the dtype of x, in bfloat16 for a bfloat16 model.

fails: angles.angles_are_exact_far_away, rotation.float64_stays_exact
names: computed in the dtype of x
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def rows(self, x, positions):
        self.check_positions(positions)
        angles = positions[..., None].to(x.dtype) * self.speeds().to(x.dtype)
        return angles.cos(), angles.sin()
