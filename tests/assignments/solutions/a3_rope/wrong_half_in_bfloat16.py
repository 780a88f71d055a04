"""The tables of the second layout are rounded.

fails: angles.cosines_are_exact
names: with layout="half": cosines and sines are rounded to bfloat16
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def rows(self, x, positions):
        cos, sin = super().rows(x, positions)
        return (cos.bfloat16(), sin.bfloat16()) if self.layout == "half" else (cos, sin)
