"""The causal mask is inverted.

fails: masks.nobody_sees_the_future
names: the causal mask is inverted
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def causal_mask(self, queries, keys, device):
        return torch.ones(queries, keys, dtype=torch.bool).triu(1 + keys - queries)
