"""The mask is True for padding.

fails: cache.left_padding, cache.cache_together
names: mask(seq) is True for padding
"""

from _base import *


class KVCache(KVCache):
    def real(self, seq):
        return ~super().real(seq)
