"""The sum runs over the tokens.

fails: gates.renormalised_gates, gates.gates_together, gates.gates_by_default
names: a sum over the tokens
"""

from _base import *


class TopKRouter(TopKRouter):
    def normalise(self, weights):
        return weights / weights.sum(0, keepdim=True) if self.renormalize else weights
