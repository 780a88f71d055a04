"""Right: all parameters are views of one flat tensor, and so is the shard, so that nothing is kept twice."""

from _base import *


class ZeroOptimizer:
    def __init__(self, rank, world_size, parameters, make_optimizer):
        self.world_size, self.parameters = world_size, list(parameters)
        self.flat = torch.cat([p.detach().flatten() for p in self.parameters])
        sizes = [p.numel() for p in self.parameters]
        for p, part in zip(self.parameters, self.flat.split(sizes), strict=True):
            p.data = part.view_as(p)
        self.shard = nn.Parameter(self.flat.tensor_split(world_size)[rank])
        self.optimizer = make_optimizer([self.shard])

    def step(self):
        grads = torch.cat([p.grad.flatten() for p in self.parameters])
        total = yield ReduceScatter(grads.tensor_split(self.world_size))
        self.shard.grad = total / self.world_size
        self.optimizer.step()
        self.flat.copy_(torch.cat((yield AllGather(self.shard.detach().clone()))))
