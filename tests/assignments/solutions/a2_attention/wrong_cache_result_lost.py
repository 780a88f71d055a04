"""Updates the cache and goes on with the new keys alone.

fails: positions.pieces_see_what_came_before, masks.mask_with_a_cache, positions.generation_together
names: what the cache returns is not used
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def look_back(self, q, k, v, x, token_positions, cache):
        positions = self.positions(x, token_positions, cache)
        q, k, v = self.prepare(q, k, v, positions)
        if cache is not None:
            cache.update(k, v)
        return q, k, v
