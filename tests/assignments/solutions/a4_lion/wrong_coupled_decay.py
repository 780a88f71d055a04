"""Adds decay to the gradient.

fails: update.parameters_decay, update.decay_is_decoupled, update.decay_comes_first, update.ten_updates, optimizer.a_training_loop
names: put into the gradient
points: 60-75
"""

from _base import *


class Lion(Lion):
    def gradient(self, p, group):
        return p.grad + group["weight_decay"] * p

    def decay(self, p, lr, wd):
        pass
