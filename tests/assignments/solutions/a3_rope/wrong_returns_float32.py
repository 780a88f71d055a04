"""Forgets to cast the result back.

fails: rotation.dtype_is_kept
names: another dtype than x
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def finish(self, turned, x):
        return turned.float()
