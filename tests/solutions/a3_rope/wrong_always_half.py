"""Pairs i with i + d_k / 2, as in Hugging Face's code, whatever the layout.

fails: rotation.neighbours_form_pairs, module.whole_rotations_agree
names: which is the layout "half"
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def check_arguments(self):
        super().check_arguments()
        self.layout = "half"
