"""The cast back is forgotten in the second layout.

fails: rotation.dtype_is_kept
names: with layout="half": the result has another dtype
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def finish(self, turned, x):
        return turned if self.layout == "half" else turned.to(x.dtype)
