"""Asserts.

fails: optimizer.bad_rates_are_refused, optimizer.bad_decays_are_refused, optimizer.bad_betas_are_refused
names: raises AssertionError
points: 95-99
"""

from _base import *


class Lion(Lion):
    def check_arguments(self, lr, betas, weight_decay):
        assert lr >= 0 and weight_decay >= 0 and all(0 <= beta < 1 for beta in betas)
