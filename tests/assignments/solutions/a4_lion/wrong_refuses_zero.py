"""Refuses a learning rate of 0.

fails: optimizer.zero_is_allowed
names: a learning rate of 0 is allowed
points: 95-99
"""

from _base import *


class Lion(Lion):
    def check_arguments(self, lr, betas, weight_decay):
        if lr <= 0:
            raise ValueError("lr")
        super().check_arguments(lr, betas, weight_decay)
