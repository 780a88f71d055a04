"""The sum that gates are divided by is taken for a constant.

fails: gates.gates_have_gradients, gates.gates_together, gates.gates_by_default
names: is the sum that it is divided by detached
"""

from _base import *


class TopKRouter(TopKRouter):
    def normalise(self, weights):
        return weights / weights.sum(-1, keepdim=True).detach() if self.renormalize else weights
