"""Only the first of the k choices counts.

fails: balance.fractions_of_assignments, balance.balance_together
names: only the first choice
"""

from _base import *


class TopKRouter(TopKRouter):
    def fractions(self, p, indices, weights):
        return super().fractions(p, indices[..., :1], weights)
