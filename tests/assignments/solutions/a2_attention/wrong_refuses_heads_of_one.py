"""Refuses heads of size 1, which fit.

fails: multi_head.refuses_bad_sizes
names: a head of size 1, where d_model is num_heads, is refused
points: 99-100
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def check_sizes(self, d_head):
        super().check_sizes(d_head)
        if (d_head or self.d_model // self.num_heads) < 2:
            raise ValueError("a head needs two dimensions")
