"""The momentum goes down by the learning rate, as a parameter of SGD does.

fails: update.beta2_weighs_the_momentum, update.ten_updates, optimizer.a_training_loop
names: the momentum does not become
points: 70-74
"""

from _base import *


class Lion(Lion):
    def update(self, p, g, m, group):
        self.rate = group["lr"]
        super().update(p, g, m, group)

    def keep(self, m, g, beta1, beta2):
        m.mul_(beta2).sub_(g, alpha=self.rate * (1 - beta2))
