"""Only the first group takes its steps.

fails: optimizer.momenta_are_not_shared, optimizer.groups_have_their_own_values, optimizer.changed_values_are_followed, optimizer.a_training_loop
names: only the first of the groups moves
points: 75-85
"""

from _base import *


class Lion(Lion):
    def update_all(self):
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                self.update(p, self.gradient(p, self.param_groups[0]), self.momentum(p, None), self.param_groups[0])
