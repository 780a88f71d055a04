"""The sign of the new momentum, as in signSGD with momentum.

fails: direction.beta1_weighs_the_direction, direction.ten_directions, update.ten_updates, optimizer.a_training_loop
names: like the new momentum
points: 60-75
"""

from _base import *


class Lion(Lion):
    def direction(self, g, m, beta1, beta2):
        return beta2 * m + (1 - beta2) * g
