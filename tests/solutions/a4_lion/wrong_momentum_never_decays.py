"""The momentum forgets nothing.

fails: update.beta2_weighs_the_momentum, direction.beta1_weighs_the_direction, update.momentum_comes_last
names: does not become beta2 * momentum
"""

from _base import *


class Lion(Lion):
    def keep(self, m, g, beta1, beta2):
        m.add_(g, alpha=1 - beta2)
