"""truncate takes a length that the cache does not have.

fails: cache.truncate
names: must raise a ValueError
"""

from _base import *


class KVCache(KVCache):
    def truncate(self, length):
        self.length = max(0, length)
