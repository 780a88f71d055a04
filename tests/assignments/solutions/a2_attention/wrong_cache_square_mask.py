"""The causal mask has as many columns as rows.

fails: positions.pieces_see_what_came_before, positions.generation_together
names: a row for each query, a column for each key
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def causal_mask(self, queries, keys, device):
        return torch.ones(queries, queries, dtype=torch.bool).tril()
