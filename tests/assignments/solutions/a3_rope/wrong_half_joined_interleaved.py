"""Cuts x into halves and puts the pairs together as neighbours.

fails: layouts.half_is_the_same_rotation_elsewhere, layouts.whole_halves_agree
names: join the two halves
points: 90-96
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def join(self, first, second):
        return torch.stack((first, second), dim=-1).flatten(-2)
