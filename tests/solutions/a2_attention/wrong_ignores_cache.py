"""Never asks the cache.

fails: positions.mask_with_a_cache, positions.positions_with_a_cache, positions.what_the_cache_is_given
names: the cache is not used
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def look_back(self, q, k, v, x, token_positions, cache):
        return super().look_back(q, k, v, x, token_positions, None)
