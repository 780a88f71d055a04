"""The summed gradients are not divided by the number of ranks.

fails: zero.zero_together, zero.sharded_state, zero.uneven_shards, zero.gradients_stay, zero.one_rank, zero.shard_in_memory
names: takes the sum of gradients
"""

from _base import *


class ZeroOptimizer(ZeroOptimizer):
    def update(self, total):
        self.shard.grad = total
        self.optimizer.step()
