"""The last rank has all numbers that are left over.

fails: zero.uneven_shards
names: more than this rank's shard of n / world_size
"""

from _base import *


class ZeroOptimizer(ZeroOptimizer):
    def cut(self, flat):
        part = len(flat) // self.world_size
        return flat.split([part] * (self.world_size - 1) + [len(flat) - part * (self.world_size - 1)])
