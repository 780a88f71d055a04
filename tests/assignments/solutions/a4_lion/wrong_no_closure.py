"""step takes nothing.

fails: optimizer.step_runs_its_closure, optimizer.closures_have_gradients
names: does not accept a closure
points: 95-99
"""

from _base import *


class Lion(Lion):
    def step(self):
        return super().step()
