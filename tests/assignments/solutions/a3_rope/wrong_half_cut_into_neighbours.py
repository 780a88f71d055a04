"""Cuts x into even and odd dimensions in both layouts, and joins them as asked.

fails: layouts.half_is_the_same_rotation_elsewhere, layouts.whole_halves_agree
names: cut x into its two halves
points: 90-96
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def split(self, x):
        return x[..., 0::2], x[..., 1::2]
