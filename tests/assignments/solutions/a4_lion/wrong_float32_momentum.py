"""The momentum is float32 always.

fails: optimizer.dtypes_are_kept
names: another dtype
points: 95-99
"""

from _base import *


class Lion(Lion):
    def first(self, p):
        return torch.zeros(p.shape)

    def direction(self, g, m, beta1, beta2):
        return (beta1 * m + (1 - beta1) * g).to(g.dtype)
