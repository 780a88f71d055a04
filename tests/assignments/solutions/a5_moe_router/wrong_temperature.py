"""The logits are halved before the softmax.

fails: gates.renormalised_gates, gates.gates_among_all, gates.one_and_all, gates.gates_have_gradients, gates.gates_together, gates.gates_by_default
names: those of the logits times 0.5
points: 75.5-80
"""

from _base import *


class TopKRouter(TopKRouter):
    def probabilities(self, h):
        return (h / 2).softmax(-1)
