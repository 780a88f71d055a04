"""The list of parameters gets new tensors, and the model keeps the old ones.

fails: zero.sharded_state, zero.uneven_shards, zero.one_rank, zero.gradients_stay, zero.zero_together, zero.shard_in_memory
names: leaves the parameters as they were
"""

from _base import *


def Updated(value, grad):
    made = nn.Parameter(value.clone())
    made.grad = grad
    return made


class ZeroOptimizer(ZeroOptimizer):
    def put(self, parts):
        flat = torch.cat(list(parts))
        sizes = [p.numel() for p in self.parameters]
        self.parameters = [Updated(part.view_as(p), p.grad) for p, part in zip(self.parameters, flat.split(sizes))]
