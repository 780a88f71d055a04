"""Puts keys and values into the cache that are repeated already.

fails: positions.what_the_cache_is_given
names: are repeated already
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def repeat(self, x):
        return x if x.shape[1] == self.num_heads else super().repeat(x)

    def look_back(self, q, k, v, x, token_positions, cache):
        return super().look_back(q, self.repeat(k), self.repeat(v), x, token_positions, cache)
