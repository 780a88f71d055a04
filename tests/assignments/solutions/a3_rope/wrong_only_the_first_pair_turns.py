"""Only the first pair turns.

fails: angles.speeds_of_the_pairs, angles.ordinary_heads_turn_at_the_right_speeds, rotation.neighbours_form_pairs, rotation.each_pair_has_its_own_speed, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: some pairs stay as they are
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def turn(self, a, b, cos, sin):
        c, d = a.clone(), b.clone()
        c[..., :1], d[..., :1] = (a * cos - b * sin)[..., :1], (a * sin + b * cos)[..., :1]
        return c, d
