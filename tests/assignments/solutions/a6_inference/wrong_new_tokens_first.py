"""The new tokens stand in front of the old ones.

fails: cache.grows_in_place, cache.keeps_a_copy, cache.no_room, cache.truncate, cache.cache_together
names: gone after the second update
"""

from _base import *


class KVCache(KVCache):
    def write(self, memory, x, stop):
        memory[:, :, :stop] = torch.cat([x, memory[:, :, : self.length].clone()], dim=2)
        return memory
