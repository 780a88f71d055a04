"""Adds to x in place.

fails: multi_head.module_keeps_the_dtype
names: x was changed
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def forward(self, x, **rest):
        out = super().forward(x, **rest)
        if not x.requires_grad:
            x += 1
        return out
