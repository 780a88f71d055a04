"""Each update writes over the first places.

fails: cache.grows_in_place, cache.keeps_a_copy, cache.no_room, cache.truncate, cache.cache_together
names: the first keys are gone
"""

from _base import *


class KVCache(KVCache):
    def write(self, memory, x, stop):
        memory[:, :, : x.shape[2]] = x
        return memory
