"""The load-balancing loss is a number that has nothing to do with the tokens.

fails: balance.balance_has_a_gradient, balance.fractions_times_probabilities, balance.fractions_of_assignments, balance.idle_experts_count, balance.balance_over_all_tokens, balance.balance_together
names: is judged where the value
points: 75
"""  # noqa: E501

from _base import *


class TopKRouter(TopKRouter):
    def balance(self, p, indices, weights):
        return torch.tensor(float(self.num_experts), dtype=p.dtype)
