"""One matrix for queries, keys and values, one after the other.

fails: multi_head.has_its_parameters
names: q_proj is missing among the registered parameters
points: 95-98
"""

from _base import *


class MultiHeadAttention(MultiHeadAttention):
    def make_projections(self, bias):
        self.sizes = [n * self.d_head for n in (self.num_heads, self.num_kv_heads, self.num_kv_heads)]
        self.qkv = nn.Linear(self.d_model, sum(self.sizes), bias=bias)
        self.proj = nn.Linear(self.sizes[0], self.d_model, bias=bias)

    def forward(self, x, *, context=None, mask=None, token_positions=None, cache=None):
        q, k, v = self.qkv(x).split(self.sizes, dim=-1)
        if context is not None:
            _, k, v = self.qkv(context).split(self.sizes, dim=-1)
        q, k, v = self.split(q, self.num_heads), self.split(k, self.num_kv_heads), self.split(v, self.num_kv_heads)
        if context is not None:
            q, k, v = self.normalise(q, k, v)
        else:
            q, k, v = self.look_back(q, k, v, x, token_positions, cache)
            if self.causal:
                causal = self.causal_mask(x.shape[1], k.shape[2], x.device)
                mask = self.combine(mask, self.in_order(causal, token_positions))
        return self.proj(self.join(self.attend(q, self.repeat(k), self.repeat(v), mask)))
