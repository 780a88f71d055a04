"""Assignments are counted and never divided by their number.

fails: balance.fractions_times_probabilities, balance.fractions_of_assignments, balance.balance_together
names: a share of the assignments
points: 78-86
"""

from _base import *


class TopKRouter(TopKRouter):
    def fractions(self, p, indices, weights):
        return torch.bincount(indices.flatten(), minlength=self.num_experts).float()
