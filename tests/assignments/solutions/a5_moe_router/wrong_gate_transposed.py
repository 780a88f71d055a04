"""The gate is a bare parameter, and the other way round.

fails: router.gate_weight
names: no parameter gate.weight
points: 95-99
"""

from _base import *


class TopKRouter(TopKRouter):
    def make_gate(self, d_model):
        return nn.Parameter(torch.randn(d_model, self.num_experts))

    def logits(self, x):
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        return x.to(dtype) @ self.gate.to(dtype)
