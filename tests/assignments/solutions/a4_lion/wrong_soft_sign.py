"""Divides by the size plus epsilon, as habit will have it.

fails: direction.steps_have_the_size_lr
names: very small or very large
points: 95-99
"""

from _base import *


class Lion(Lion):
    def sign(self, c):
        return c / (c.abs() + 1e-8)
