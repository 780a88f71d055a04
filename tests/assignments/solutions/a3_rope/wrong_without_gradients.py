"""Runs forward without gradients, as a decorator says.

fails: rotation.gradients_come_back, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: no gradient comes back to x
points: 69-75
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    @torch.no_grad()
    def forward(self, x, token_positions):
        return super().forward(x, token_positions)
