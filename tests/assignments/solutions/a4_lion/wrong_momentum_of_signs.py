"""Collects signs.

fails: update.beta2_weighs_the_momentum, update.ten_updates, optimizer.a_training_loop
names: collects the signs
points: 60-75
"""

from _base import *


class Lion(Lion):
    def keep(self, m, g, beta1, beta2):
        m.mul_(beta2).add_(g.sign(), alpha=1 - beta2)
