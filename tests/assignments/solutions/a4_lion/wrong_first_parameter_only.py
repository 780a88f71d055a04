"""Only the first parameter of a group takes its step.

fails: optimizer.momenta_are_not_shared, optimizer.a_training_loop
names: only the first of the parameters of a group moves
points: 75-88
"""

from _base import *


class Lion(Lion):
    def update_all(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.update(p, self.gradient(p, group), self.momentum(p, group), group)
                    break
