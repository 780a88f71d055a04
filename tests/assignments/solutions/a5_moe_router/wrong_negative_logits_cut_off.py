"""A ReLU before the softmax.

fails: gates.gates_among_all, gates.gates_together, balance.fractions_times_probabilities, balance.fractions_of_assignments, balance.idle_experts_count, balance.balance_together
may: gates.most_probable_first, gates.renormalised_gates
names: negative logits are cut off
"""

from _base import *


class TopKRouter(TopKRouter):
    def probabilities(self, h):
        return h.relu().softmax(-1)
