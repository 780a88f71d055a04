"""Turns what x holds, and not x: nothing behind it can learn.

fails: rotation.gradients_come_back, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: no gradient comes back to x
points: 69-75
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def split(self, x):
        return super().split(x.detach())
