"""Makes one normalisation for queries and keys.

fails: multi_head.normalises_queries_and_keys
names: qk_norm is called once
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def make_norms(self, qk_norm):
        self.q_norm = self.k_norm = qk_norm(self.d_head) if qk_norm else None
