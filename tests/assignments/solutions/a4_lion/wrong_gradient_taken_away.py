"""Sets the gradients to None after the step.

fails: update.gradients_stay
names: or takes it away
"""

from _base import *


class Lion(Lion):
    def step(self, closure=None):
        loss = super().step(closure)
        self.zero_grad()
        return loss
