"""The load-balancing loss comes with the coefficient of a training loop.

fails: balance.balance_together
names: its coefficient belongs to the training loop
points: 81
"""

from _base import *


class TopKRouter(TopKRouter):
    def balance(self, p, indices, weights):
        return 0.01 * super().balance(p, indices, weights)
