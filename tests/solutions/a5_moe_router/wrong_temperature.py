"""The logits are halved before the softmax.

fails: gates.renormalised_gates, gates.gates_among_all, gates.one_and_all, gates.gates_have_gradients, gates.gates_together, gates.gates_by_default, balance.fractions_times_probabilities, balance.fractions_of_assignments, balance.balance_has_a_gradient, balance.idle_experts_count, balance.balance_over_all_tokens, balance.balance_together
names: those of the logits times 0.5
"""

from _base import *


class TopKRouter(TopKRouter):
    def probabilities(self, h):
        return (h / 2).softmax(-1)
