"""A full cache is refused.

fails: cache.keeps_a_copy, cache.no_room
names: ValueError
"""

from _base import *


class KVCache(KVCache):
    def check_room(self, stop):
        if stop >= self.max_length:
            raise ValueError("there is no room")
