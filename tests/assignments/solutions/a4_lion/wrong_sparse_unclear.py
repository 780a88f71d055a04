"""Fails somewhere.

fails: optimizer.sparse_gradients_are_refused
names: without the word sparse
points: 95-99
"""

from _base import *


class Lion(Lion):
    def look_for_sparse(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.grad.is_sparse:
                    raise RuntimeError("this does not work")
