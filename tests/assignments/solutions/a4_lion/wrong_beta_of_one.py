"""Allows a beta of 1.

fails: optimizer.bad_betas_are_refused
names: beta2 = 1 is accepted
points: 95-99
"""

from _base import *


class Lion(Lion):
    def check_arguments(self, lr, betas, weight_decay):
        if lr < 0 or weight_decay < 0 or not all(0 <= beta <= 1 for beta in betas):
            raise ValueError("arguments")
