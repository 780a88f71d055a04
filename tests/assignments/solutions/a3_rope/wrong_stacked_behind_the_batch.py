"""Stacks the turned pairs on the second axis, which is the right one for a row of vectors alone.

fails: rotation.neighbours_form_pairs, rotation.each_pair_has_its_own_speed, rotation.lengths_are_kept, rotation.whole_rotations_agree, positions.rows_have_their_own_positions, positions.heads_share_the_positions_of_their_row, positions.any_number_of_dimensions, positions.whole_batches_agree, module.scores_of_a_model_agree
names: dimensions 2i and 2i + 1 must form a pair
points: 60-75
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def forward(self, x, token_positions):
        if self.layout == "half":
            return super().forward(x, token_positions)
        cos, sin = (table.repeat_interleave(2, dim=-1) for table in self.rows(x, token_positions))
        first, second = self.split(x)
        return self.finish(x * cos + torch.stack((-second, first), dim=1).flatten(-2) * sin, x)
