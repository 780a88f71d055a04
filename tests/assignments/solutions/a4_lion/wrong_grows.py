"""The decay has the wrong sign.

fails: update.parameters_decay, update.ten_updates, optimizer.a_training_loop
names: parameters grow
points: 60-75
"""

from _base import *


class Lion(Lion):
    def decay(self, p, lr, wd):
        p.mul_(1 + lr * wd)
