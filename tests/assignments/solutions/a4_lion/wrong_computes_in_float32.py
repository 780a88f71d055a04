"""Computes momenta in float32 whatever their dtype.

fails: optimizer.dtypes_are_kept
names: the momentum of a float64 parameter has only the precision of float32
"""

from _base import *


class Lion(Lion):
    def keep(self, m, g, beta1, beta2):
        m.copy_(beta2 * m.float() + (1 - beta2) * g.float())
