"""Forgets lr in the decay.

fails: update.parameters_decay, update.ten_updates, optimizer.a_training_loop
names: lr is missing
points: 60-75
"""

from _base import *


class Lion(Lion):
    def decay(self, p, lr, wd):
        p.mul_(1 - wd)
