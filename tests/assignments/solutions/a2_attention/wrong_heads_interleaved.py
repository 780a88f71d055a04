"""Deals the features out to the heads in turn.

fails: multi_head.each_head_by_itself, multi_head.wide_heads, multi_head.normalises_queries_and_keys, grouped.neighbours_share, multi_head.self_attention_together, multi_head.training_together, grouped.grouped_together, masks.masks_together, cross.context_together, positions.generation_together
names: the features are dealt out in turn
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def split(self, x, heads):
        return x.view(x.shape[0], x.shape[1], self.d_head, heads).permute(0, 3, 1, 2)

    def join(self, x):
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], x.shape[2], -1)
