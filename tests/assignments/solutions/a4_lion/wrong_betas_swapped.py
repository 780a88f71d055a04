"""Each beta in the other's place.

fails: direction.beta1_weighs_the_direction, direction.ten_directions, update.beta2_weighs_the_momentum, update.ten_updates, optimizer.a_training_loop
names: beta1 and beta2 are swapped
points: 60-75
"""

from _base import *


class Lion(Lion):
    def direction(self, g, m, beta1, beta2):
        return beta2 * m + (1 - beta2) * g

    def keep(self, m, g, beta1, beta2):
        m.mul_(beta1).add_(g, alpha=1 - beta1)
