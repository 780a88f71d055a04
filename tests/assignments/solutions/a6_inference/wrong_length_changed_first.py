"""length has changed when the room is looked at.

fails: cache.no_room
names: leaves a cache that no longer works
"""

from _base import *


class KVCache(KVCache):
    def check_room(self, stop):
        before, self.length = self.length, stop
        super().check_room(stop)
        self.length = before
