"""The factor forgets weight_decay, where there is one.

fails: update.parameters_decay, update.ten_updates, optimizer.a_training_loop
names: parameters shrink by lr
points: 65-80
"""

from _base import *


class Lion(Lion):
    def decay(self, p, lr, wd):
        if wd:
            p.mul_(1 - lr)
