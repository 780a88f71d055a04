"""Forgets the momentum.

fails: direction.beta1_weighs_the_direction, direction.ten_directions, update.momentum_comes_last, update.ten_updates, optimizer.momenta_are_not_shared, optimizer.checkpoints_hold_the_momenta, optimizer.a_training_loop
names: sign of the gradient alone
points: 25-60
"""

from _base import *


class Lion(Lion):
    def direction(self, g, m, beta1, beta2):
        return g
