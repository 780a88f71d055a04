"""Adds sparse gradients as they come.

fails: optimizer.sparse_gradients_are_refused
names: a sparse gradient is accepted
points: 95-99
"""

from _base import *


class Lion(Lion):
    def look_for_sparse(self):
        pass

    def gradient(self, p, group):
        return p.grad.to_dense() if p.grad.is_sparse else p.grad
