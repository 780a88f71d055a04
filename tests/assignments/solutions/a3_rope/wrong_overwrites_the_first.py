"""The second of a pair is computed from the first as it has become.

fails: rotation.lengths_are_kept, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: overwritten before the second
points: 68-74
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def turn(self, first, second, cos, sin):
        first = first * cos - second * sin
        return first, first * sin + second * cos
