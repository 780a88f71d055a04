"""Applies rope although there is a context.

fails: cross.context_without_positions
names: rope is applied although there is a context
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
        if self.rope is not None:
            q = self.rope(q, torch.arange(q.shape[2]))
            k = self.rope(k, torch.arange(k.shape[2]))
        return self.o_proj(self.join(self.attend(q, self.repeat(k), self.repeat(v), mask)))
