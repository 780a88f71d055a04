"""Probabilities are added up over the tokens.

fails: balance.fractions_times_probabilities, balance.fractions_of_assignments, balance.balance_together
names: grows with the number of tokens
"""

from _base import *


class TopKRouter(TopKRouter):
    def means(self, p, indices, weights):
        return p.reshape(-1, self.num_experts).sum(0)
