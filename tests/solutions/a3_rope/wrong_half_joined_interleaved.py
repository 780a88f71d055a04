"""Cuts x into halves and puts the pairs together as neighbours.

fails: layouts.half_is_the_same_rotation_elsewhere
names: no other
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def join(self, first, second):
        return torch.stack((first, second), dim=-1).flatten(-2)
