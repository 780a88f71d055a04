"""Makes leaves of what is none.

fails: optimizer.non_leaves_are_refused
names: torch.optim.Optimizer.__init__ refuses it
points: 95-99
"""

from _base import *


class Lion(Lion):
    def __init__(self, params, **options):
        given = list(params)
        if given and isinstance(given[0], torch.Tensor):
            given = [p if p.is_leaf else p.detach().requires_grad_() for p in given]
        super().__init__(given, **options)
