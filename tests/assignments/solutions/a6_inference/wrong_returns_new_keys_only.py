"""Only the new keys and values are returned.

fails: cache.grows_in_place, cache.keeps_a_copy, cache.no_room, cache.truncate, cache.cache_together
names: the new keys alone
"""

from _base import *


class KVCache(KVCache):
    def seen(self, memory, x):
        return x
