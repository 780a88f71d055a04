"""A minus in place of the plus in the direction.

fails: direction.beta1_weighs_the_direction, direction.ten_directions, update.momentum_comes_last, update.ten_updates, optimizer.a_training_loop
names: the direction is not the sign of
points: 50-70
"""

from _base import *


class Lion(Lion):
    def direction(self, g, m, beta1, beta2):
        return beta1 * m - (1 - beta1) * g
