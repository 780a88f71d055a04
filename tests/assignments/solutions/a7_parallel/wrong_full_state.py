"""Every rank keeps the optimizer of all parameters.

fails: zero.zero_together, zero.sharded_state, zero.uneven_shards
names: more than this rank's shard
"""

from _base import *


class ZeroOptimizer(ZeroOptimizer):
    def __init__(self, rank, world_size, parameters, make_optimizer):
        self.rank, self.world_size, self.parameters = rank, world_size, parameters
        self.whole = nn.Parameter(self.flat([p.detach() for p in parameters]).clone())
        self.optimizer = make_optimizer([self.whole])

    def update(self, total):
        self.whole.grad = torch.zeros_like(self.whole)
        self.cut(self.whole.grad)[self.rank].copy_(total / self.world_size)
        self.optimizer.step()
        self.shard = self.cut(self.whole.detach())[self.rank]
