"""What is returned is a copy of the memory.

fails: cache.grows_in_place
names: no views of one memory
"""

from _base import *


class KVCache(KVCache):
    def seen(self, memory, x):
        return super().seen(memory, x).clone()
