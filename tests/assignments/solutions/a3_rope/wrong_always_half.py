"""Pairs i with i + d_k / 2, as in Hugging Face's code, whatever the layout.

fails: rotation.neighbours_form_pairs, rotation.whole_rotations_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: which is the layout "half"
points: 73-79
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def check_arguments(self):
        super().check_arguments()
        self.layout = "half"
