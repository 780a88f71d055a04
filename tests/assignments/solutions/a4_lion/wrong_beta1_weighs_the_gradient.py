"""The interpolation the other way round.

fails: direction.beta1_weighs_the_direction, direction.ten_directions, update.ten_updates, optimizer.a_training_loop
names: beta1 weighs the gradient
points: 60-75
"""

from _base import *


class Lion(Lion):
    def direction(self, g, m, beta1, beta2):
        return torch.lerp(m, g, beta1)
