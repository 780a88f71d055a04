"""The causal mask lets a token see the next one.

fails: masks.nobody_sees_the_future, multi_head.self_attention_together, multi_head.training_together, grouped.grouped_together, masks.masks_together, positions.generation_together
names: off by one
points: 50-71
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def causal_mask(self, queries, keys, device):
        return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries + 1)
