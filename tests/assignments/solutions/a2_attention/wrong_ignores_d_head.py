"""Ignores d_head.

fails: multi_head.has_its_parameters, multi_head.wide_heads, masks.masks_broadcast
names: with d_head given
"""

from _base import *


Before = MultiHeadAttention


class MultiHeadAttention(MultiHeadAttention):
    def __init__(self, d_model, num_heads, num_kv_heads=None, *, d_head=None, **rest):
        Before.__init__(self, d_model, num_heads, num_kv_heads, **rest)
