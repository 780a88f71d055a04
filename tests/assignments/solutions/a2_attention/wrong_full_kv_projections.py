"""Makes as many heads of keys as of queries and uses some.

fails: grouped.fewer_projections, grouped.neighbours_share, grouped.one_for_all, grouped.repeated_for_attend, positions.what_the_cache_is_given, grouped.grouped_together, positions.generation_together
names: sharing saves parameters
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def make_projections(self, bias):
        kv, self.num_kv_heads = self.num_kv_heads, self.num_heads
        super().make_projections(bias)
        self.num_kv_heads = self.num_heads
        self.share = self.num_heads // kv

    def repeat(self, x):
        return x[:, :: self.share].repeat_interleave(self.share, dim=1)
