"""beta2 is 0.99, whatever the group says.

fails: update.beta2_weighs_the_momentum
names: weighed by 0.99
points: 94-97
"""

from _base import *


class Lion(Lion):
    def keep(self, m, g, beta1, beta2):
        m.mul_(0.99).add_(g, alpha=0.01)
