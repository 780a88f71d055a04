"""Halves each step.

fails: direction.steps_have_the_size_lr, direction.ten_directions, update.ten_updates, optimizer.a_training_loop
names: size is not lr
points: 60-75
"""

from _base import *


class Lion(Lion):
    def move(self, p, c, lr):
        p.sub_(lr / 2 * c)
