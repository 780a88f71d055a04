"""Calls the closure after the update.

fails: optimizer.step_runs_its_closure
names: so it comes first
points: 95-99
"""

from _base import *


class Lion(Lion):
    def step(self, closure=None):
        super().step()
        return self.call(closure)
