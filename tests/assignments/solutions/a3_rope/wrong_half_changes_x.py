"""Writes the result into x in the second layout.

fails: rotation.inputs_stay_as_they_are
names: with layout="half": x is changed in place
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def finish(self, turned, x):
        return x.copy_(turned) if self.layout == "half" else turned.to(x.dtype)
