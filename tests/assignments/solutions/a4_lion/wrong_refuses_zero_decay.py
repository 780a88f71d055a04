"""A weight decay of 0, the default, is refused.

fails: optimizer.zero_is_allowed
names: a weight decay of 0 is allowed
points: 97-99
"""

from _base import *


class Lion(Lion):
    def check_arguments(self, lr, betas, weight_decay):
        if weight_decay <= 0:
            raise ValueError("weight_decay")
        super().check_arguments(lr, betas, weight_decay)
