"""Puts keys into the cache before rope and turns all of them each time.

fails: positions.what_the_cache_is_given
names: that rope has not turned
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def look_back(self, q, k, v, x, token_positions, cache):
        positions = self.positions(x, token_positions, cache)
        if cache is None:
            return self.prepare(q, k, v, positions)
        q, k, v = self.normalise(q, k, v)
        k, v = cache.update(k, v)
        return self.turn(q, q, v, positions)[0], self.turn(k, k, v, torch.arange(k.shape[2]))[1], v
