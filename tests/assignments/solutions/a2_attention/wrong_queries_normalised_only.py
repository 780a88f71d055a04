"""Normalises the queries only.

fails: multi_head.normalises_queries_and_keys
names: the keys are not normalised
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def normalise(self, q, k, v):
        return (self.q_norm(q), k, v) if self.q_norm else (q, k, v)
