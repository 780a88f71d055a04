"""The closure is called as things are: without gradients where the caller has none.

fails: optimizer.closures_have_gradients
names: where step is called in torch.no_grad()
points: 98-99
"""

from _base import *


class Lion(Lion):
    def call(self, closure):
        return closure() if closure is not None else None
