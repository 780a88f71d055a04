"""Bad arguments are found by the first step only.

fails: optimizer.bad_rates_are_refused, optimizer.bad_decays_are_refused, optimizer.bad_betas_are_refused
names: is refused by step
points: 95-99
"""

from _base import *


class Lion(Lion):
    def check_arguments(self, lr, betas, weight_decay):
        pass

    def update(self, p, g, m, group):
        if min(group["lr"], group["weight_decay"], *group["betas"]) < 0 or max(group["betas"]) >= 1:
            raise ValueError("lr, betas or weight_decay")
        super().update(p, g, m, group)
