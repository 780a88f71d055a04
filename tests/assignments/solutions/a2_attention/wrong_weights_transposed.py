"""Multiplies by the weights as (in, out).

fails: multi_head.each_head_by_itself, multi_head.normalises_queries_and_keys, multi_head.self_attention_together, multi_head.training_together, grouped.grouped_together, masks.masks_together, cross.context_together, positions.generation_together
names: the weights are used the wrong way round
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def split(self, x, heads):
        return super().split(x, heads)

    def make_projections(self, bias):
        super().make_projections(bias)
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            projection = getattr(self, name)
            if projection.in_features == projection.out_features:
                projection.forward = lambda x, p=projection: x @ p.weight + (0 if p.bias is None else p.bias)
