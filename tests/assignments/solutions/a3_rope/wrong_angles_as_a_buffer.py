"""Keeps the angles in a buffer, which .to(torch.bfloat16) rounds.

fails: module.a_converted_module_is_as_exact
names: after model.to(torch.bfloat16)
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def keep(self, angles, device):
        self.register_buffer("known", angles.float().to(device), persistent=False)

    def rows(self, x, positions):
        self.check_positions(positions)
        return self.known[positions].cos(), self.known[positions].sin()
