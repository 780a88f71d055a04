"""Takes it that all parameters have gradients.

fails: optimizer.missing_gradients_are_skipped
names: makes step fail
points: 95-99
"""

from _base import *


class Lion(Lion):
    def look_for_sparse(self):
        if any(p.grad.is_sparse for group in self.param_groups for p in group["params"]):
            raise RuntimeError("no sparse gradients")
