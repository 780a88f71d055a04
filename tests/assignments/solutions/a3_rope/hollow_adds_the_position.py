"""Adds the position to every number.

most: 0
"""

from _hollow import *


class RotaryPositionalEmbedding(Base):
    def change(self, x, positions):
        return x + positions[..., None] / 3 + 0.1
