"""A softmax of the gates that are returned.

fails: gates.renormalised_gates, gates.gates_among_all, gates.gates_together, gates.gates_by_default
names: softmax is taken twice
"""

from _base import *


class TopKRouter(TopKRouter):
    def gates(self, h, p, i):
        return super().gates(h, p, i).softmax(-1)
