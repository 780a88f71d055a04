"""The causal mask lets a token see the next one.

fails: masks.nobody_sees_the_future
names: off by one
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def causal_mask(self, queries, keys, device):
        return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries + 1)
