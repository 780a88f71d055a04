"""Ignores the mask that is given when there is a cache.

fails: masks.mask_with_a_cache
names: with a cache the mask that is given has no effect
points: 99-100
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def forward(self, x, *, context=None, mask=None, token_positions=None, cache=None):
        mask = None if cache is not None else mask
        return super().forward(x, context=context, mask=mask, token_positions=token_positions, cache=cache)
