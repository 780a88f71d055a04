"""Applies a causal mask that begins at 0 to a context.

fails: cross.reads_the_context, cross.context_with_a_mask, cross.context_together
names: the causal mask is applied to a context
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
        if self.causal:
            mask = self.combine(mask, torch.ones(x.shape[1], k.shape[2], dtype=torch.bool).tril())
        return self.o_proj(self.join(self.attend(q, self.repeat(k), self.repeat(v), mask)))
