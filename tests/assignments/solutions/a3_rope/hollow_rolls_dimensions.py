"""Moves the numbers of a vector by as many places as its position says: lengths stay, nothing turns.

most: 0
"""

from _hollow import *


class RotaryPositionalEmbedding(Base):
    def change(self, x, positions):
        places = (torch.arange(self.d_k) - positions[..., None]) % self.d_k
        return x.gather(-1, places.expand(x.shape))
