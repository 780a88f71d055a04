"""A right solution in small parts, so that a wrong one is this one with one part put wrong.

A file of the catalogue that begins with ``from _base import *`` is judged with this text in place of that line: it
is then a whole solution. `softmax` and `scaled_dot_product_attention` are written anew where they are wrong; the parts
of the module are methods of `MultiHeadAttention`.
"""

import math

import torch
from torch import nn


def in_float32(weights):
    """Halves are computed in float32."""

    def wide(x, dim):
        return weights(x.float() if x.dtype in (torch.float16, torch.bfloat16) else x, dim).to(x.dtype)

    return wide


@in_float32
def softmax(x, dim):
    peak = x.detach().amax(dim, keepdim=True)
    powers = (x - torch.where(peak.isneginf(), 0, peak)).exp()
    total = powers.sum(dim, keepdim=True)
    return powers / torch.where(total == 0, 1, total)


def scaled_dot_product_attention(Q, K, V, mask=None):
    scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return softmax(scores, -1) @ V


def padding_mask(lengths, k):
    return (torch.arange(k, device=lengths.device) < lengths[:, None])[:, None, None]


class MultiHeadAttention(nn.Module):
    def __init__(
        self,
        d_model,
        num_heads,
        num_kv_heads=None,
        *,
        d_head=None,
        rope=None,
        qk_norm=None,
        attend=None,  # by default what the name scaled_dot_product_attention means when the module is made
        causal=True,
        bias=False,
    ):
        super().__init__()
        self.d_model, self.num_heads, self.num_kv_heads = d_model, num_heads, num_kv_heads or num_heads
        self.check_sizes(d_head)
        self.d_head = d_head or d_model // num_heads
        self.causal, self.rope, self.attend = causal, rope, attend or scaled_dot_product_attention
        self.make_projections(bias)
        self.make_norms(qk_norm)

    def check_sizes(self, d_head):
        if self.num_heads % self.num_kv_heads:
            raise ValueError("num_heads must be a multiple of num_kv_heads")
        if not d_head and self.d_model % self.num_heads:
            raise ValueError("d_model must be a multiple of num_heads")

    def make_projections(self, bias):
        inner, inner_kv = self.num_heads * self.d_head, self.num_kv_heads * self.d_head
        self.q_proj = nn.Linear(self.d_model, inner, bias=bias)
        self.k_proj = nn.Linear(self.d_model, inner_kv, bias=bias)
        self.v_proj = nn.Linear(self.d_model, inner_kv, bias=bias)
        self.o_proj = nn.Linear(inner, self.d_model, bias=bias)

    def make_norms(self, qk_norm):
        self.q_norm = qk_norm(self.d_head) if qk_norm else None
        self.k_norm = qk_norm(self.d_head) if qk_norm else None

    def split(self, x, heads):
        return x.view(x.shape[0], x.shape[1], heads, self.d_head).transpose(1, 2)

    def join(self, x):
        return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)

    def repeat(self, x):
        return x.repeat_interleave(self.num_heads // self.num_kv_heads, dim=1)

    def normalise(self, q, k, v):
        return (self.q_norm(q), self.k_norm(k), v) if self.q_norm else (q, k, v)

    def turn(self, q, k, v, positions):
        if self.rope is None:
            return q, k, v
        positions = positions.unsqueeze(-2)
        return self.rope(q, positions), self.rope(k, positions), v

    def positions(self, x, token_positions, cache):
        if token_positions is not None:
            return token_positions
        return torch.arange(x.shape[1]) + (cache.length if cache is not None else 0)

    def causal_mask(self, queries, keys, device):
        return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)

    def in_order(self, causal, positions):
        """The causal mask of new tokens that stand in another order: each sees those at its position or before."""
        if positions is None or bool((positions.diff() > 0).all()):
            return causal
        new = positions.shape[-1]
        order = positions[..., None, :] <= positions[..., :, None]
        past = causal[:, : causal.shape[1] - new].expand(*order.shape[:-1], -1)
        seen = torch.cat([past, order], -1)
        return seen if seen.ndim == 2 else seen[:, None]

    def combine(self, mask, causal):
        return causal if mask is None else mask & causal

    def prepare(self, q, k, v, positions):
        q, k, v = self.normalise(q, k, v)
        return self.turn(q, k, v, positions)

    def look_back(self, q, k, v, x, token_positions, cache):
        q, k, v = self.prepare(q, k, v, self.positions(x, token_positions, cache))
        if cache is not None:
            k, v = cache.update(k, v)
        return q, k, v

    def forward(self, x, *, context=None, mask=None, token_positions=None, cache=None):
        source = x if context is None else context
        q = self.split(self.q_proj(x), self.num_heads)
        k = self.split(self.k_proj(source), self.num_kv_heads)
        v = self.split(self.v_proj(source), self.num_kv_heads)
        if context is not None:
            q, k, v = self.normalise(q, k, v)
        else:
            q, k, v = self.look_back(q, k, v, x, token_positions, cache)
            if self.causal:
                causal = self.causal_mask(x.shape[1], k.shape[2], x.device)
                mask = self.combine(mask, self.in_order(causal, token_positions))
        return self.o_proj(self.join(self.attend(q, self.repeat(k), self.repeat(v), mask)))
