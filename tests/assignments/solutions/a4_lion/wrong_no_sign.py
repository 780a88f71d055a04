"""SGD with two momenta.

fails: direction.steps_have_the_size_lr, direction.ten_directions, update.decay_is_decoupled, update.ten_updates, optimizer.a_training_loop
names: different sizes
points: 60-75
"""

from _base import *


class Lion(Lion):
    def sign(self, c):
        return c
