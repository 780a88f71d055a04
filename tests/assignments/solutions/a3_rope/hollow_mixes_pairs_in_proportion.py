"""Adds to each dimension its partner times the position: a shear, which turns nothing.

most: 0
"""

from _hollow import *


class RotaryPositionalEmbedding(Base):
    def change(self, x, positions):
        swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
        if self.layout == "half":
            swapped = x.roll(self.d_k // 2, -1)
        return x + swapped * positions[..., None] / 10
