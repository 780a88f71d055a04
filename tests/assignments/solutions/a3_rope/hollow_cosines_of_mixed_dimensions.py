"""Takes cosines for sines too: what it mixes goes back and forth, and never round.

most: 0
"""

from _hollow import *


class RotaryPositionalEmbedding(Base):
    def change(self, x, positions):
        swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
        if self.layout == "half":
            swapped = x.roll(self.d_k // 2, -1)
        return x * self.angles(positions).cos() + swapped * (1 - self.angles(positions).cos())
