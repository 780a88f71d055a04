"""Forgets the mask that is given where there is a causal one.

fails: masks.both_must_allow, masks.masks_together
names: has no effect when causal
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def combine(self, mask, causal):
        return causal
