"""Asserts that sizes fit.

fails: multi_head.refuses_bad_sizes
names: must raise ValueError
points: 99-100
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def check_sizes(self, d_head):
        assert self.num_heads % self.num_kv_heads == 0
        assert d_head or self.d_model % self.num_heads == 0
