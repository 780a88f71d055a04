"""Gradients are looked at group by group, so the first group has moved already.

fails: optimizer.sparse_gradients_are_refused
names: of an earlier group
points: 98-99
"""

from _base import *


class Lion(Lion):
    def look_for_sparse(self):
        pass

    def update_all(self):
        for group in self.param_groups:
            if any(p.grad is not None and p.grad.is_sparse for p in group["params"]):
                raise RuntimeError("no sparse gradients")
            for p in group["params"]:
                if p.grad is not None:
                    self.update(p, self.gradient(p, group), self.momentum(p, group), group)
