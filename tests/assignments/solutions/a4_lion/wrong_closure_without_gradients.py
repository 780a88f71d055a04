"""Calls the closure where gradients are off.

fails: optimizer.step_runs_its_closure, optimizer.closures_have_gradients
names: runs without gradients
points: 95-99
"""

from _base import *


class Lion(Lion):
    def step(self, closure=None):
        with torch.no_grad():
            loss = closure() if closure is not None else None
            super().step()
        return loss
