"""Rounds cosines and sines to the dtype of x before they are used.

fails: rotation.float64_stays_exact
names: x in bfloat16 or float16 is turned in numbers as rough
points: 98-99
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def rows(self, x, positions):
        cos, sin = super().rows(x, positions)
        return cos.to(x.dtype), sin.to(x.dtype)
