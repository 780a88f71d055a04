"""Changes signs by the binary digits of the position: lengths stay, nothing turns.

most: 0
"""

from _hollow import *


class RotaryPositionalEmbedding(Base):
    def change(self, x, positions):
        digits = (positions[..., None] >> torch.arange(self.d_k) % 6) & 1
        return x * (1 - 2 * digits)
