"""The momentum begins with a gradient.

fails: update.beta2_weighs_the_momentum, update.ten_updates, optimizer.a_training_loop
names: begins with the first gradient
points: 60-75
"""

from _base import *


class Lion(Lion):
    def first(self, p):
        return p.grad.clone()
