"""Takes every layout but interleaved for half.

fails: module.unknown_layouts_are_refused
names: a layout other than
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def check_arguments(self):
        if self.d_k % 2:
            raise ValueError("d_k must be even")
