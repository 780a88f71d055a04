"""Turns nothing in the layout "half": the pairs are taken from the front alone, and the rest is zero.

fails: layouts.half_is_the_same_rotation_elsewhere, layouts.whole_halves_agree
names: the result is zero
points: 90-96
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def finish(self, turned, x):
        turned = turned.to(x.dtype)
        return turned if self.layout == "interleaved" else turned * 0
