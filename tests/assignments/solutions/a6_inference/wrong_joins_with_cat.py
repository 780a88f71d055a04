"""torch.cat makes the memory anew in each update.

fails: cache.grows_in_place
names: no views of one memory
"""

from _base import *


class KVCache(KVCache):
    def take(self, x):
        return x[:, :, :0].clone()

    def write(self, memory, x, stop):
        return torch.cat([memory[:, :, : self.length], x], dim=2)
