"""The load-balancing loss raises; everything else is right.

fails: balance.fractions_times_probabilities, balance.fractions_of_assignments, balance.balance_has_a_gradient, balance.idle_experts_count, balance.balance_over_all_tokens, balance.balance_together
names: raised RuntimeError
points: 75
"""

from _base import *


def load_balancing_loss(probabilities, indices):
    return probabilities.mean(0) @ indices


class TopKRouter(TopKRouter):
    def balance(self, p, indices, weights):
        return load_balancing_loss(p, indices)
