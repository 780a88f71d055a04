"""Takes 0 for what is missing.

fails: optimizer.missing_gradients_are_skipped
names: None decays
points: 95-99
"""

from _base import *


class Lion(Lion):
    def update_all(self):
        for group in self.param_groups:
            for p in group["params"]:
                g = torch.zeros_like(p) if p.grad is None else p.grad
                self.update(p, g, self.momentum(p, group), group)
