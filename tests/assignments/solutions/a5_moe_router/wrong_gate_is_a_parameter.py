"""The gate is a bare parameter.

fails: router.gate_weight
names: no parameter gate.weight
points: 95-99
"""

from _base import *


class TopKRouter(TopKRouter):
    def make_gate(self, d_model):
        return nn.Parameter(torch.randn(self.num_experts, d_model))

    def logits(self, x):
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        return x.to(dtype) @ self.gate.to(dtype).T
