"""Knows one layout and refuses the other.

fails: layouts.half_is_the_same_rotation_elsewhere, layouts.whole_halves_agree
names: your code raised ValueError
points: 90-94
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def check_arguments(self):
        super().check_arguments()
        if self.layout == "half":
            raise ValueError("not supported")
