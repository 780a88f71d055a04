"""Needs what load_state_dict does not bring.

fails: optimizer.checkpoints_hold_the_momenta
names: load_state_dict or the next step
points: 95-99
"""

from _base import *


class Lion(Lion):
    def __init__(self, params, **options):
        super().__init__(params, **options)
        self.known = {p: torch.zeros_like(p) for group in self.param_groups for p in group["params"]}

    def momentum(self, p, group):
        return self.known[p]

    def load_state_dict(self, state):
        self.known = {}
