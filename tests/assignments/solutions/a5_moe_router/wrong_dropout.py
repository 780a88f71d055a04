"""Dropout in the router.

fails: gates.most_probable_first, gates.gates_among_all, gates.one_and_all, gates.gates_have_gradients, gates.gates_together, gates.gates_by_default, balance.fractions_times_probabilities, balance.fractions_of_assignments, balance.balance_has_a_gradient, balance.idle_experts_count, balance.balance_over_all_tokens, balance.balance_together, router.names_of_output
may: gates.renormalised_gates
names: something is drawn at random
"""

from _base import *


class TopKRouter(TopKRouter):
    def probabilities(self, h):
        return nn.functional.dropout(h.softmax(-1), 0.2)
