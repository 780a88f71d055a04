"""Multiplies by the right cosines, and has no sine.

most: 0
"""

from _hollow import *


class RotaryPositionalEmbedding(Base):
    def change(self, x, positions):
        return x * self.angles(positions).cos()
