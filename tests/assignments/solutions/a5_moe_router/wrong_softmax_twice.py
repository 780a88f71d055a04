"""A softmax of the chosen probabilities.

fails: gates.renormalised_gates, gates.gates_among_all, gates.gates_together, gates.gates_by_default
names: softmax is taken twice
"""

from _base import *


class TopKRouter(TopKRouter):
    def gates(self, logits, p, indices):
        return p.gather(-1, indices).softmax(-1)
