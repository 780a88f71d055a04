"""Casts x to float32, also from float64.

fails: rotation.float64_stays_exact
names: x in float64 is turned in float32
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def split(self, x):
        return super().split(x.float())
