"""Positions always begin at 0.

fails: cache.left_padding, cache.cache_together
names: it goes on at length
"""

from _base import *


class KVCache(KVCache):
    def places(self, seq):
        return torch.arange(seq)
