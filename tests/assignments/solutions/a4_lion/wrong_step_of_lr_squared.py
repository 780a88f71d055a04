"""Multiplies with the learning rate twice.

fails: direction.steps_have_the_size_lr, direction.ten_directions, update.ten_updates, optimizer.a_training_loop
names: their size is not lr
points: 55-75
"""

from _base import *


class Lion(Lion):
    def move(self, p, c, lr):
        p.sub_(lr * lr * c)
