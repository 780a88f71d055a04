"""Turns every vector by one and the same angle, wherever it stands.

most: 0
"""

from _hollow import *


class RotaryPositionalEmbedding(Base):
    def change(self, x, positions):
        angles = self.angles(torch.tensor(1))
        swapped = torch.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).flatten(-2)
        if self.layout == "half":
            first, second = x.chunk(2, dim=-1)
            swapped = torch.cat((-second, first), dim=-1)
        return x * angles.cos() + swapped * angles.sin()
