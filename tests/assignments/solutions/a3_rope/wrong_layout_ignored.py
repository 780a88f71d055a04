"""Accepts the layout and always pairs neighbours.

fails: layouts.half_is_the_same_rotation_elsewhere, layouts.whole_halves_agree
names: pair i is still (2i, 2i + 1)
points: 90-96
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def check_arguments(self):
        super().check_arguments()
        self.layout = "interleaved"
