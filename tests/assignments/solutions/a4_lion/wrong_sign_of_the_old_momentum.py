"""Forgets the newest gradient.

fails: direction.beta1_weighs_the_direction, direction.ten_directions, update.momentum_comes_last, update.ten_updates, optimizer.a_training_loop
names: sign of the momentum alone
points: 60-75
"""

from _base import *


class Lion(Lion):
    def direction(self, g, m, beta1, beta2):
        return m
