"""Reads cache.length after update.

fails: positions.positions_with_a_cache, positions.what_the_cache_is_given, positions.generation_together
names: positions run ahead
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def look_back(self, q, k, v, x, token_positions, cache):
        q, k, v = self.normalise(q, k, v)
        if cache is None:
            return self.turn(q, k, v, self.positions(x, token_positions, None))
        k, v = cache.update(k, v)
        positions = self.positions(x, token_positions, cache)
        q, _, _ = self.turn(q, q, v, positions)
        _, k, _ = self.turn(k, k, v, torch.arange(k.shape[2]))
        return q, k, v
