"""Mean gates stand where the fractions belong.

fails: balance.fractions_times_probabilities, balance.fractions_of_assignments, balance.balance_together
names: gates stand where the fractions
"""

from _base import *


class TopKRouter(TopKRouter):
    def fractions(self, p, indices, weights):
        return torch.zeros_like(p).scatter(-1, indices, weights).flatten(0, -2).mean(0) if p.dim() > 1 else p
