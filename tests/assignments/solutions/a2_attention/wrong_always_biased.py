"""Has biases whether asked for or not.

fails: multi_head.has_its_parameters
names: there is none unless bias=True
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def make_projections(self, bias):
        super().make_projections(True)
        if not bias:
            for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
                nn.init.zeros_(getattr(self, name).bias)
