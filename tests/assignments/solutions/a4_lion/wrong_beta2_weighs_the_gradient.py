"""The momentum forgets at once.

fails: update.beta2_weighs_the_momentum, update.ten_updates, optimizer.a_training_loop
names: beta2 weighs the gradient
points: 60-75
"""

from _base import *


class Lion(Lion):
    def keep(self, m, g, beta1, beta2):
        m.lerp_(g, beta2)
