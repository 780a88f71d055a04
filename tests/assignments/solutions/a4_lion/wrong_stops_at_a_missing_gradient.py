"""Leaves the loop.

fails: optimizer.missing_gradients_are_skipped
names: are forgotten
points: 95-99
"""

from _base import *


class Lion(Lion):
    def update_all(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    break
                self.update(p, p.grad, self.momentum(p, group), group)
