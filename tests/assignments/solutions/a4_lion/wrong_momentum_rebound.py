"""m = ... is a new tensor: what self.state[p] holds stays 0.

fails: direction.beta1_weighs_the_direction, direction.ten_directions, update.beta2_weighs_the_momentum, update.momentum_comes_last, update.ten_updates, optimizer.momenta_are_not_shared, optimizer.checkpoints_hold_the_momenta, optimizer.a_training_loop
names: the momentum stays 0
points: 45-75
"""

from _base import *


class Lion(Lion):
    def keep(self, m, g, beta1, beta2):
        m = beta2 * m + (1 - beta2) * g
