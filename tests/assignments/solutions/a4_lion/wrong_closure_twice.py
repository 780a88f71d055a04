"""Calls the closure once more for the value.

fails: optimizer.step_runs_its_closure
names: more than once
points: 95-99
"""

from _base import *


class Lion(Lion):
    def step(self, closure=None):
        super().step(closure)
        return self.call(closure)
