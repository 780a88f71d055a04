"""Keeps the sines in bfloat16, and the cosines in float32.

fails: angles.cosines_are_exact
names: not as exact as float32
points: 96-99
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def keep(self, angles, device):
        super().keep(angles, device)
        self.sin = self.sin.bfloat16().float()
