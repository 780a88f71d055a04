"""Replaces what the parameter holds.

fails: update.parameters_change_in_place
names: new memory
points: 95-99
"""

from _base import *


class Lion(Lion):
    def decay(self, p, lr, wd):
        p.data = p.data * (1 - lr * wd)

    def move(self, p, c, lr):
        p.data = p.data - lr * c
