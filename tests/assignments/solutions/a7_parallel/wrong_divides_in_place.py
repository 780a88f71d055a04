"""Gradients are divided in place before they are sent.

fails: zero.gradients_stay
names: have changed after a step
"""

from _base import *


class ZeroOptimizer(ZeroOptimizer):
    def step(self):
        for p in self.parameters:
            p.grad /= self.world_size
        yield from super().step()

    def update(self, total):
        self.shard.grad = total
        self.optimizer.step()
