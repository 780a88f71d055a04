"""The direction becomes the momentum.

fails: update.beta2_weighs_the_momentum, update.ten_updates, optimizer.a_training_loop
names: beta1 weighs the momentum too
points: 60-75
"""

from _base import *


class Lion(Lion):
    def keep(self, m, g, beta1, beta2):
        m.mul_(beta1).add_(g, alpha=1 - beta1)
