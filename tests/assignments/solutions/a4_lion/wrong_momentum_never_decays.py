"""The momentum forgets nothing.

fails: update.beta2_weighs_the_momentum, update.ten_updates, optimizer.a_training_loop
names: lacks its weight beta2
points: 60-75
"""

from _base import *


class Lion(Lion):
    def keep(self, m, g, beta1, beta2):
        m.add_(g, alpha=1 - beta2)
