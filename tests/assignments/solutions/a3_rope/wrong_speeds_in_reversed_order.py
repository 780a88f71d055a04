"""The last pair turns fastest.

fails: rotation.each_pair_has_its_own_speed, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: the first pair is the fastest
points: 69-75
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def speeds(self):
        return super().speeds().flip(0)
