"""A new optimizer for each step forgets its state.

fails: zero.zero_together, zero.sharded_state, zero.uneven_shards, zero.one_rank
names: is the optimizer's state kept
"""

from _base import *


class ZeroOptimizer(ZeroOptimizer):
    def update(self, total):
        self.shard.grad = total / self.world_size
        self.make_optimizer([self.shard]).step()
