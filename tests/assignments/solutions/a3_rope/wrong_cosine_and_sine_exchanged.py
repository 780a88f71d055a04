"""The cosine stands where the sine belongs.

fails: angles.nothing_turns_at_position_zero, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: cosine and sine are exchanged
points: 68-74
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def rows(self, x, positions):
        cos, sin = super().rows(x, positions)
        return sin, cos
