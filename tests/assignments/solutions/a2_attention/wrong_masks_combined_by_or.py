"""Combines the masks by or.

fails: masks.both_must_allow, masks.masks_together
names: combined by or
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def combine(self, mask, causal):
        return causal if mask is None else mask | causal
