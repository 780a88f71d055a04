"""Adds what is turned to x.

fails: rotation.lengths_are_kept, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: a rotation keeps the length
points: 68-74
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def finish(self, turned, x):
        return (x + turned).to(x.dtype)
