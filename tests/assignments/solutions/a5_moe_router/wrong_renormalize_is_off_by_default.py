"""Renormalises only where it is asked for.

fails: gates.gates_by_default
names: its default is True
points: 96
"""

from _base import *


class TopKRouter(TopKRouter):
    def __init__(self, d_model, num_experts, top_k, *, renormalize=False):
        super().__init__(d_model, num_experts, top_k, renormalize=renormalize)
