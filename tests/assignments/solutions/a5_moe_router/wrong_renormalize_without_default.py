"""Whether to renormalise must always be said.

fails: router.gate_weight, router.bounds_of_top_k
names: does not take the arguments
points: 96-99
"""

from _base import *


class TopKRouter(TopKRouter):
    def __init__(self, d_model, num_experts, top_k, *, renormalize):
        super().__init__(d_model, num_experts, top_k, renormalize=renormalize)
