"""Ignores the mask for a context where causal is True.

fails: cross.context_with_a_mask, cross.context_together
names: with a context the mask has no effect
points: 97-98
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def forward(self, x, *, context=None, mask=None, token_positions=None, cache=None):
        source = x if context is None else context
        q = self.split(self.q_proj(x), self.num_heads)
        k = self.split(self.k_proj(source), self.num_kv_heads)
        v = self.split(self.v_proj(source), self.num_kv_heads)
        if context is not None:
            q, k, v = self.normalise(q, k, v)
        else:
            q, k, v = self.look_back(q, k, v, x, token_positions, cache)
        if self.causal and context is None:
            causal = self.causal_mask(x.shape[1], k.shape[2], x.device)
            mask = self.combine(mask, self.in_order(causal, token_positions))
        return self.o_proj(self.join(self.attend(q, self.repeat(k), self.repeat(v), None if self.causal and context is not None else mask)))
