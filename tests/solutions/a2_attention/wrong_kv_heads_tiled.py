"""Repeats keys and values in the wrong order.

fails: grouped.neighbours_share
names: share keys and values in turn
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def repeat(self, x):
        return x.repeat(1, self.num_heads // self.num_kv_heads, 1, 1)
