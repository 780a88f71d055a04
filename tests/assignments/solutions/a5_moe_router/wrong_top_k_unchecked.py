"""Takes any top_k.

fails: router.bounds_of_top_k
names: raise a ValueError
points: 95-99.5
"""

from _base import *


class TopKRouter(TopKRouter):
    def __init__(self, d_model, num_experts, top_k, *, renormalize=True):
        nn.Module.__init__(self)
        self.num_experts, self.top_k, self.renormalize = num_experts, top_k, renormalize
        self.gate = self.make_gate(d_model)
