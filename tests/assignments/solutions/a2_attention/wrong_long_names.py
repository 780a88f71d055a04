"""Calls the projections query, key, value and out.

fails: multi_head.has_its_parameters
names: q_proj is missing among the registered parameters
points: 95-98
"""

from _base import *

NAMES = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "o_proj": "out"}


class MultiHeadAttention(MultiHeadAttention):
    def make_projections(self, bias):
        super().make_projections(bias)
        for name, other in NAMES.items():
            self.register_module(other, self._modules.pop(name))

    def __getattr__(self, name):
        return super().__getattr__(NAMES.get(name, name))
