"""In the second layout float64 goes through float32.

fails: rotation.float64_stays_exact
names: with layout="half": x in float64 is turned in float32
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def split(self, x):
        return super().split(x.float() if self.layout == "half" else x)
