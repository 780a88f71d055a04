"""The direction lacks 1 - beta1.

fails: direction.beta1_weighs_the_direction, direction.ten_directions, update.ten_updates, optimizer.a_training_loop
names: lacks its weight 1 - beta1
points: 60-75
"""

from _base import *


class Lion(Lion):
    def direction(self, g, m, beta1, beta2):
        return beta1 * m + g
