"""The factor forgets weight_decay, so parameters shrink by lr, whatever the weight decay is.

fails: update.parameters_decay, update.ten_updates, optimizer.a_training_loop
names: also where weight_decay is 0
points: 65-80
"""

from _base import *


class Lion(Lion):
    def decay(self, p, lr, wd):
        p.mul_(1 - lr)
