"""Raises in the middle of a step.

fails: optimizer.sparse_gradients_are_refused
names: of the same group have changed already
points: 95-99
"""

from _base import *


class Lion(Lion):
    def look_for_sparse(self):
        pass

    def gradient(self, p, group):
        if p.grad.is_sparse:
            raise RuntimeError("no sparse gradients")
        return p.grad
