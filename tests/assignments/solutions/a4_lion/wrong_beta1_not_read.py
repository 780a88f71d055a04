"""beta1 is 0.9, whatever the group says.

fails: direction.beta1_weighs_the_direction
names: weighed by 0.9
points: 94-97
"""

from _base import *


class Lion(Lion):
    def direction(self, g, m, beta1, beta2):
        return 0.9 * m + 0.1 * g
