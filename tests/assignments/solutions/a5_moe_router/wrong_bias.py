"""The gate has a bias.

fails: router.gate_weight
names: the gate has a bias
"""

from _base import *


class TopKRouter(TopKRouter):
    def make_gate(self, d_model):
        return nn.Linear(d_model, self.num_experts)

    def logits(self, x):
        return super().logits(x) + self.gate.bias.to(x.dtype if x.dtype == torch.float64 else torch.float32)
