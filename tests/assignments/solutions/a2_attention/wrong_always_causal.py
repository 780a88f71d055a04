"""Ignores causal=False.

fails: masks.everybody_sees_everybody
names: causal=False is ignored
"""

from _base import *


Before = MultiHeadAttention


class MultiHeadAttention(MultiHeadAttention):
    def __init__(self, *args, causal=True, **rest):
        Before.__init__(self, *args, causal=True, **rest)
