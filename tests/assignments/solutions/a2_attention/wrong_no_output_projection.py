"""Makes o_proj and does not use it.

fails: multi_head.each_head_by_itself, multi_head.wide_heads, multi_head.normalises_queries_and_keys, multi_head.module_gradients, multi_head.self_attention_together, multi_head.training_together, grouped.grouped_together, masks.masks_together, cross.context_together, positions.generation_together
names: o_proj is not used
points: 52-75
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def forward(self, x, **rest):
        project = self.o_proj
        del self.o_proj
        self.o_proj = nn.Identity()
        out = super().forward(x, **rest)
        self.o_proj = project
        return out
