"""Mean probabilities, squared.

fails: balance.fractions_times_probabilities, balance.fractions_of_assignments, balance.balance_together
names: probabilities stand where the fractions
"""

from _base import *


class TopKRouter(TopKRouter):
    def fractions(self, p, indices, weights):
        return self.means(p, indices, weights)
