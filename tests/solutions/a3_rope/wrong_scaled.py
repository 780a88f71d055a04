"""Divides by the root of two, as if sines and cosines had been counted twice.

fails: rotation.lengths_are_kept, module.whole_rotations_agree
names: a rotation keeps the length
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def finish(self, turned, x):
        return (turned / 2**0.5).to(x.dtype)
