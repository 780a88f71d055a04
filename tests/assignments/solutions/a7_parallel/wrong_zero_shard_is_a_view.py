"""The shard is a slice of the flat copy of all parameters, which stays in memory for it.

fails: zero.shard_in_memory
names: a clone keeps its part alone
"""

from _base import *


class ZeroOptimizer(ZeroOptimizer):
    def __init__(self, rank, world_size, parameters, make_optimizer):
        self.rank, self.world_size, self.parameters = rank, world_size, parameters
        self.shard = nn.Parameter(self.cut(self.flat([p.detach() for p in parameters]))[rank])
        self.optimizer = make_optimizer([self.shard])
