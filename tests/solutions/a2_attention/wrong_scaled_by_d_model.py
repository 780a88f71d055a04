"""Divides by the root of d_model.

fails: multi_head.each_head_by_itself, multi_head.wide_heads, multi_head.normalises_queries_and_keys
names: the root of d_model
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def prepare(self, q, k, v, positions):
        q, k, v = super().prepare(q, k, v, positions)
        return q * math.sqrt(self.d_head / self.d_model), k, v
