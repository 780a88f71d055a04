"""A ReLU before the softmax of the gates.

fails: gates.gates_among_all, gates.gates_together
may: gates.renormalised_gates
names: negative logits are cut off
"""

from _base import *


class TopKRouter(TopKRouter):
    def gates(self, h, p, i):
        return self.normalise(h.relu().softmax(-1).gather(-1, i))
