"""Divides by the root of d_model.

fails: multi_head.each_head_by_itself, multi_head.wide_heads, multi_head.normalises_queries_and_keys, multi_head.self_attention_together, multi_head.training_together, grouped.grouped_together, masks.masks_together, positions.generation_together
names: the root of d_model
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def prepare(self, q, k, v, positions):
        q, k, v = super().prepare(q, k, v, positions)
        return q * math.sqrt(self.d_head / self.d_model), k, v
