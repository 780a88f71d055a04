"""Adds the step.

fails: direction.steps_go_down, direction.ten_directions, update.ten_updates, optimizer.a_training_loop
names: parameters climb
points: 60-75
"""

from _base import *


class Lion(Lion):
    def move(self, p, c, lr):
        p.add_(lr * c)
