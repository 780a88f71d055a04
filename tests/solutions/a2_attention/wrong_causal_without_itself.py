"""The causal mask hides a token from itself.

fails: masks.nobody_sees_the_future
names: a token does not see itself
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def causal_mask(self, queries, keys, device):
        return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries - 1)
