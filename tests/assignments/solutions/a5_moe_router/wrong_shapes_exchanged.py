"""The gate is made the wrong way round.

fails: router.gate_weight, router.computed_in_float64
names: must have the shape (num_experts, d_model)
"""

from _base import *


class TopKRouter(TopKRouter):
    def make_gate(self, d_model):
        return nn.Linear(self.num_experts, d_model, bias=False)

    def logits(self, x):
        return x.float() @ self.gate.weight.float()
