"""Does not look at d_k.

fails: module.odd_sizes_are_refused
names: an odd d_k
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def check_arguments(self):
        if self.layout not in ("interleaved", "half"):
            raise ValueError("no such layout")
