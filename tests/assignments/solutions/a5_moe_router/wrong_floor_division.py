"""Gates are divided by their sum with //, through which no gradient can go.

fails: gates.renormalised_gates, gates.one_and_all, gates.different_experts, gates.gates_have_gradients, gates.gates_together, gates.gates_by_default
names: the gates are not p_e / sum
points: 70-82
"""

from _base import *


class TopKRouter(TopKRouter):
    def normalise(self, weights):
        return weights // weights.sum(-1, keepdim=True) if self.renormalize else weights
