"""The causal mask begins at 0 in every call.

fails: positions.mask_with_a_cache
names: the causal mask begins at 0 again
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def causal_mask(self, queries, keys, device):
        return torch.ones(queries, keys, dtype=torch.bool).tril()
