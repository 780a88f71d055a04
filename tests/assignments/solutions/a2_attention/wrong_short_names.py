"""Calls the projections wq, wk, wv and wo.

fails: multi_head.has_its_parameters
names: q_proj is missing among the registered parameters
points: 95-98
"""

from _base import *

NAMES = {"q_proj": "wq", "k_proj": "wk", "v_proj": "wv", "o_proj": "wo"}


class MultiHeadAttention(MultiHeadAttention):
    def make_projections(self, bias):
        super().make_projections(bias)
        for name, other in NAMES.items():
            self.register_module(other, self._modules.pop(name))

    def __getattr__(self, name):
        return super().__getattr__(NAMES.get(name, name))
