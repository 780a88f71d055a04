"""Calls its own attention whatever attend is given.

fails: multi_head.attend_is_a_slot, grouped.repeated_for_attend
names: the attend that is given is never called
points: 96-98
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def join(self, x):
        return super().join(x)

    def forward(self, x, **rest):
        self.attend = scaled_dot_product_attention
        return super().forward(x, **rest)
