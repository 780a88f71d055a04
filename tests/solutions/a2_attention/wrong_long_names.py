"""Calls the projections query, key, value and out.

fails: multi_head.has_its_parameters
names: q_proj is missing among the registered parameters
points: 95-98
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def make_projections(self, bias):
        inner, inner_kv = self.num_heads * self.d_head, self.num_kv_heads * self.d_head
        self.query = nn.Linear(self.d_model, inner, bias=bias)
        self.key = nn.Linear(self.d_model, inner_kv, bias=bias)
        self.value = nn.Linear(self.d_model, inner_kv, bias=bias)
        self.out = nn.Linear(inner, self.d_model, bias=bias)

    def forward(self, x, *, context=None, mask=None, token_positions=None, cache=None):
        source = x if context is None else context
        q = self.split(self.query(x), self.num_heads)
        k = self.split(self.key(source), self.num_kv_heads)
        v = self.split(self.value(source), self.num_kv_heads)
        if context is not None:
            q, k, v = self.normalise(q, k, v)
        else:
            q, k, v = self.look_back(q, k, v, x, token_positions, cache)
            if self.causal:
                causal = self.causal_mask(x.shape[1], k.shape[2], x.device)
                mask = self.combine(mask, self.in_order(causal, token_positions))
        return self.out(self.join(self.attend(q, self.repeat(k), self.repeat(v), mask)))
