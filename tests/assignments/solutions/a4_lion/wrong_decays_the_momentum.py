"""Shrinks the momentum in place of the parameter.

fails: update.parameters_decay, update.decay_comes_first, update.ten_updates, optimizer.a_training_loop
names: no effect
points: 60-75
"""

from _base import *


class Lion(Lion):
    def update(self, p, g, m, group):
        super().update(p, g, m, group)
        m.mul_(1 - group["lr"] * group["weight_decay"])

    def decay(self, p, lr, wd):
        pass
