"""Divides when it should not.

fails: gates.renormalised_gates, gates.gates_among_all, gates.gates_together, gates.gates_by_default
names: do not add up to 1
"""

from _base import *


class TopKRouter(TopKRouter):
    def normalise(self, weights):
        return weights if self.renormalize else weights / weights.sum(-1, keepdim=True)
