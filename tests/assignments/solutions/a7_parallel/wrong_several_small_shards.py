"""make_optimizer is given the shard in two parts.

fails: zero.sharded_state
names: the shard is one flat parameter
"""

from _base import *


class ZeroOptimizer(ZeroOptimizer):
    def __init__(self, rank, world_size, parameters, make_optimizer):
        self.halves = []

        def make(shards):
            self.halves = [nn.Parameter(x.clone()) for x in shards[0].detach().tensor_split(2)]
            return make_optimizer(self.halves)

        super().__init__(rank, world_size, parameters, make)

    def update(self, total):
        for half, grad in zip(self.halves, (total / self.world_size).tensor_split(2)):
            half.grad = grad.clone()
        self.optimizer.step()
        self.shard = nn.Parameter(torch.cat([half.detach() for half in self.halves]))
