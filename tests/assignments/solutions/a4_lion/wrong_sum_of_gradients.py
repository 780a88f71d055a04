"""The momentum is the sum of all gradients.

fails: update.beta2_weighs_the_momentum, update.ten_updates, optimizer.a_training_loop
names: the sum of all gradients
points: 65-78
"""

from _base import *


class Lion(Lion):
    def keep(self, m, g, beta1, beta2):
        m.add_(g)
