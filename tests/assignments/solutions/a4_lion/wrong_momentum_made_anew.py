"""The momentum is made anew in each step.

fails: direction.beta1_weighs_the_direction, direction.ten_directions, update.beta2_weighs_the_momentum, update.momentum_comes_last, update.ten_updates, optimizer.momenta_are_not_shared, optimizer.checkpoints_hold_the_momenta, optimizer.a_training_loop
names: begins at 0 again
points: 45-75
"""

from _base import *


class Lion(Lion):
    def momentum(self, p, group):
        self.state[p]["m"] = self.first(p)
        return self.state[p]["m"]
