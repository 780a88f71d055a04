"""Uses the first head of keys and values for all.

fails: grouped.neighbours_share, grouped.grouped_together, positions.generation_together
names: use the first head
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def repeat(self, x):
        return x if x.shape[1] == self.num_heads else x[:, :1].expand(-1, self.num_heads, -1, -1)
