"""Keeps cosines and sines in float16.

fails: angles.cosines_are_exact
names: cosines and sines are rounded to float16
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def keep(self, angles, device):
        super().keep(angles.cpu(), device)
        self.cos, self.sin = self.cos.half(), self.sin.half()
