"""Shards of n // p numbers: the last few are left out.

fails: zero.uneven_shards
names: your code raised
"""

from _base import *


class ZeroOptimizer(ZeroOptimizer):
    def cut(self, flat):
        return flat.view(self.world_size, -1).unbind()
