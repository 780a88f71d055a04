"""Cuts pairs apart and puts them together as two halves.

fails: rotation.neighbours_form_pairs, rotation.whole_rotations_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: dimensions come back in another order
points: 73-79
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def join(self, first, second):
        return torch.cat((first, second), dim=-1)
