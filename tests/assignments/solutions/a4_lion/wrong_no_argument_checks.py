"""Takes anything.

fails: optimizer.bad_rates_are_refused, optimizer.bad_decays_are_refused, optimizer.bad_betas_are_refused
names: below 0 is accepted
points: 95-99
"""

from _base import *


class Lion(Lion):
    def check_arguments(self, lr, betas, weight_decay):
        pass
