"""Turns with numpy, which refuses what asks for gradients.

fails: rotation.gradients_come_back, rotation.whole_rotations_agree, layouts.whole_halves_agree, positions.whole_batches_agree, module.scores_of_a_model_agree
names: with an x that asks for gradients
points: 69-75
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def forward(self, x, token_positions):
        wide = x if x.dtype == torch.float64 else x.float()
        first, second = (torch.from_numpy(part.numpy()) for part in self.split(wide))
        return self.finish(self.join(*self.turn(first, second, *self.rows(x, token_positions))), x)
