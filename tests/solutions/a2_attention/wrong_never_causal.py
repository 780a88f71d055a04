"""Has no causal mask.

fails: masks.nobody_sees_the_future
names: every token sees those after it
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def causal_mask(self, queries, keys, device):
        return torch.ones(queries, keys, dtype=torch.bool)
