"""Takes the same from every parameter, whatever its size.

fails: update.parameters_decay, update.decay_comes_first, update.ten_updates, optimizer.a_training_loop
names: takes the same from every parameter
points: 65-80
"""

from _base import *


class Lion(Lion):
    def decay(self, p, lr, wd):
        p.sub_(lr * wd)
