"""Keeps cosines and sines in bfloat16.

fails: angles.cosines_are_exact
names: cosines and sines are rounded to bfloat16
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def keep(self, angles, device):
        super().keep(angles.cpu(), device)
        self.cos, self.sin = self.cos.bfloat16(), self.sin.bfloat16()
