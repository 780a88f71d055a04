"""Divides by k, not by the sum.

fails: gates.renormalised_gates, gates.gates_together, gates.gates_by_default
names: divided by k
"""

from _base import *


class TopKRouter(TopKRouter):
    def normalise(self, weights):
        return weights / self.top_k if self.renormalize else weights
