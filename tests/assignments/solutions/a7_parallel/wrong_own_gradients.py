"""Each rank updates its shard by its own gradients.

fails: zero.sharded_state, zero.zero_together, zero.uneven_shards, zero.gradients_stay, zero.one_rank, zero.shard_in_memory
names: is not that of one optimizer
"""

from _base import *


class ZeroOptimizer(ZeroOptimizer):
    def update(self, total):
        self.shard.grad = self.cut(self.flat([p.grad for p in self.parameters]))[self.rank].clone()
        self.optimizer.step()
