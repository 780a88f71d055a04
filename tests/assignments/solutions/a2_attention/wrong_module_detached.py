"""Detaches the keys.

fails: multi_head.module_gradients, multi_head.training_together
names: gets no gradient
points: 90-95
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def repeat(self, x):
        return super().repeat(x.detach())
