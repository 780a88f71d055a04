"""What is called interleaved is half, and the other way round.

fails: rotation.neighbours_form_pairs, rotation.whole_rotations_agree, layouts.half_is_the_same_rotation_elsewhere, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: which is the layout "half"
points: 66-72
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def check_arguments(self):
        super().check_arguments()
        self.layout = "half" if self.layout == "interleaved" else "interleaved"
