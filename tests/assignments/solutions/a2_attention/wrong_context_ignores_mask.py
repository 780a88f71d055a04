"""Forgets the mask when there is a context.

fails: cross.context_with_a_mask, cross.context_together
names: with a context the mask has no effect
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def forward(self, x, *, context=None, mask=None, token_positions=None, cache=None):
        if context is None:
            return super().forward(x, mask=mask, token_positions=token_positions, cache=cache)
        q = self.split(self.q_proj(x), self.num_heads)
        k = self.split(self.k_proj(context), self.num_kv_heads)
        v = self.split(self.v_proj(context), self.num_kv_heads)
        q, k, v = self.normalise(q, k, v)
        mask = None
        return self.o_proj(self.join(self.attend(q, self.repeat(k), self.repeat(v), mask)))
