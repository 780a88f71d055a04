"""Ignores weight_decay.

fails: update.parameters_decay, update.decay_comes_first, update.ten_updates, optimizer.a_training_loop
names: no effect
points: 60-75
"""

from _base import *


class Lion(Lion):
    def decay(self, p, lr, wd):
        pass
