"""The factor num_experts is left out.

fails: balance.fractions_times_probabilities, balance.balance_together
names: the factor num_experts is missing
"""

from _base import *


class TopKRouter(TopKRouter):
    def balance(self, p, indices, weights):
        return super().balance(p, indices, weights) / self.num_experts
