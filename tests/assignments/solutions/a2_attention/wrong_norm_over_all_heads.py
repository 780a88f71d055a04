"""Normalises all heads together.

fails: multi_head.normalises_queries_and_keys
names: for d_head features
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def make_norms(self, qk_norm):
        self.q_norm = qk_norm(self.num_heads * self.d_head) if qk_norm else None
        self.k_norm = qk_norm(self.num_kv_heads * self.d_head) if qk_norm else None

    def normalise(self, q, k, v):
        if self.q_norm is None:
            return q, k, v
        q = self.split(self.q_norm(self.join(q)), self.num_heads)
        return q, self.split(self.k_norm(self.join(k)), self.num_kv_heads), v
