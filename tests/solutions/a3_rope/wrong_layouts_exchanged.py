"""What is called interleaved is half, and the other way round.

fails: rotation.neighbours_form_pairs, layouts.half_is_the_same_rotation_elsewhere, module.whole_rotations_agree
names: which is the layout "half"
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def check_arguments(self):
        super().check_arguments()
        self.layout = "half" if self.layout == "interleaved" else "interleaved"
