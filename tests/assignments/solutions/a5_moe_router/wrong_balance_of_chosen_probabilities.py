"""Only chosen probabilities are counted in the means.

fails: balance.fractions_times_probabilities, balance.fractions_of_assignments, balance.balance_together
names: only chosen probabilities
"""

from _base import *


class TopKRouter(TopKRouter):
    def means(self, p, indices, weights):
        chosen = torch.zeros_like(p).scatter(-1, indices, p.gather(-1, indices))
        return chosen.reshape(-1, self.num_experts).mean(0)
