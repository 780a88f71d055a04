"""The whole memory is returned, with places that hold nothing.

fails: cache.grows_in_place, cache.keeps_a_copy, cache.no_room, cache.truncate, cache.cache_together
names: returns all places of the memory
"""

from _base import *


class KVCache(KVCache):
    def seen(self, memory, x):
        return memory
