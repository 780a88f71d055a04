"""Joins the heads by a view alone.

fails: multi_head.each_head_by_itself, multi_head.wide_heads, multi_head.normalises_queries_and_keys
names: the heads are joined by a view alone
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def join(self, x):
        return x.reshape(x.shape[0], x.shape[2], -1)
