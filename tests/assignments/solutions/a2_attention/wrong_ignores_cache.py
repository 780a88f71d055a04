"""Never asks the cache.

fails: positions.pieces_see_what_came_before, positions.positions_with_a_cache, positions.what_the_cache_is_given, masks.mask_with_a_cache, positions.generation_together
names: the cache is not used
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def look_back(self, q, k, v, x, token_positions, cache):
        return super().look_back(q, k, v, x, token_positions, None)
