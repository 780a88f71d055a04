"""Betas of 0 are refused.

fails: optimizer.zero_is_allowed
names: beta1 = 0 is allowed
points: 98-99
"""

from _base import *


class Lion(Lion):
    def check_arguments(self, lr, betas, weight_decay):
        if not all(0 < beta < 1 for beta in betas):
            raise ValueError("betas")
        super().check_arguments(lr, betas, weight_decay)
