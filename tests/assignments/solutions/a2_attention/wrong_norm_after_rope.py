"""Normalises after rope.

fails: multi_head.normalises_queries_and_keys
names: qk_norm comes after rope
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def prepare(self, q, k, v, positions):
        return self.normalise(*self.turn(q, k, v, positions))
