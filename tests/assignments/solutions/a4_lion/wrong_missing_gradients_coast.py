"""Lets the momentum go on without a gradient.

fails: optimizer.missing_gradients_are_skipped
names: is None
points: 95-99
"""

from _base import *


class Lion(Lion):
    def update_all(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    self.move(p, self.sign(self.momentum(p, group)), group["lr"])
        super().update_all()
