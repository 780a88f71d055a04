"""Returns nothing.

fails: optimizer.step_runs_its_closure
names: return what its closure returns
points: 95-99
"""

from _base import *


class Lion(Lion):
    def step(self, closure=None):
        super().step(closure)
