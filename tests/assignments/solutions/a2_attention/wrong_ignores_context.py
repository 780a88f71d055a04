"""Ignores the context.

fails: cross.reads_the_context, cross.context_without_positions, cross.context_with_a_mask, cross.context_together
names: the context is not used
points: 94-96.5
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def forward(self, x, *, context=None, mask=None, **rest):
        return super().forward(x, mask=None if context is not None else mask, **rest)
