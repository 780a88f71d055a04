"""The gate is called router.

fails: router.gate_weight
names: no parameter gate.weight
points: 95-99
"""

from _base import *


class TopKRouter(TopKRouter):
    def make_gate(self, d_model):
        self.router = nn.Linear(d_model, self.num_experts, bias=False)

    def logits(self, x):
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        return x.to(dtype) @ self.router.weight.to(dtype).T
