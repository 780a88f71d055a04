"""The weight is no parameter.

fails: router.gate_weight
names: no parameter gate.weight
"""

from _base import *


class TopKRouter(TopKRouter):
    def make_gate(self, d_model):
        return SimpleNamespace(weight=torch.randn(self.num_experts, d_model, requires_grad=True))
