"""Always the usual betas.

fails: direction.beta1_weighs_the_direction, update.beta2_weighs_the_momentum
names: weighed by 0.9
"""

from _base import *


class Lion(Lion):
    def direction(self, g, m, beta1, beta2):
        return 0.9 * m + 0.1 * g

    def keep(self, m, g, beta1, beta2):
        m.mul_(0.99).add_(g, alpha=0.01)
