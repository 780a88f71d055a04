"""Shrinks what the step has left.

fails: update.decay_comes_first
names: decay comes after the step
points: 95-99
"""

from _base import *


class Lion(Lion):
    def decay(self, p, lr, wd):
        pass

    def update(self, p, g, m, group):
        super().update(p, g, m, group)
        p.mul_(1 - group["lr"] * group["weight_decay"])
