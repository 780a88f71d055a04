"""In the layout half x is detached.

fails: rotation.gradients_come_back, layouts.whole_halves_agree
names: with layout="half": no gradient
points: 91-97
"""

from _base import *


class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def split(self, x):
        return super().split(x.detach() if self.layout == "half" else x)
