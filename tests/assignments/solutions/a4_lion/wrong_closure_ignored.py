"""Never calls it.

fails: optimizer.step_runs_its_closure, optimizer.closures_have_gradients
names: does not call its closure
points: 95-99
"""

from _base import *


class Lion(Lion):
    def call(self, closure):
        return None
