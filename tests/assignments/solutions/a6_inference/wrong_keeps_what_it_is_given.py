"""The first keys are kept as they are given, without a copy.

fails: cache.keeps_a_copy, cache.grows_in_place
names: what is done to k and v after update
"""

from _base import *


class KVCache(KVCache):
    def update(self, k, v):
        if self.k is None:
            self.check_room(k.shape[2])
            self.k, self.v, self.length, self.own = k, v, k.shape[2], False
            return k, v
        if not self.own:
            first, self.own = (self.k, self.v), True
            self.k, self.v, length = self.take(k), self.take(v), self.length
            self.k[:, :, :length], self.v[:, :, :length] = (x[:, :, :length] for x in first)
        return super().update(k, v)
