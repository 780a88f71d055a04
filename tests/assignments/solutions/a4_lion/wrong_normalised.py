"""Divides by the length of the direction.

fails: direction.steps_have_the_size_lr, direction.ten_directions, update.ten_updates, optimizer.layout_does_not_matter, optimizer.a_training_loop
names: different sizes
points: 60-75
"""

from _base import *


class Lion(Lion):
    def sign(self, c):
        return c / c.norm().clamp_min(1e-30) * c.numel() ** 0.5
