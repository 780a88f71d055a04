"""Keeps the speeds in a buffer, which .to(torch.bfloat16) rounds.

fails: module.a_converted_module_is_as_exact
names: after model.to(torch.bfloat16)
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def keep(self, angles, device):
        self.register_buffer("known", self.speeds().float().to(device), persistent=False)

    def rows(self, x, positions):
        self.check_positions(positions)
        angles = positions[..., None] * self.known
        return angles.cos(), angles.sin()
