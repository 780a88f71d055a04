"""As many write it for a course: a Linear of one's own, einops with names, masks kept in a buffer, everything in place."""

import math

import torch
from einops import einsum, rearrange
from torch import nn


def softmax(x, dim):
    scores = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    top = torch.amax(scores, dim=dim, keepdim=True)
    top = torch.where(torch.isinf(top), torch.zeros((), dtype=top.dtype), top)
    powers = torch.exp(scores - top)
    total = powers.sum(dim=dim, keepdim=True)
    return torch.div(powers, torch.where(total > 0, total, torch.ones_like(total))).type_as(x)


def scaled_dot_product_attention(Q, K, V, mask=None):
    scores = einsum(Q, K, "... q d, ... k d -> ... q k").div(math.sqrt(K.shape[-1]))
    if mask is not None:
        scores = torch.where(mask, scores, torch.tensor(-math.inf, dtype=scores.dtype))
    return einsum(softmax(scores, dim=-1), V, "... q k, ... k v -> ... q v")


def padding_mask(lengths, k):
    return rearrange(torch.arange(k)[None] < lengths[:, None], "b k -> b 1 1 k")


class Linear(nn.Module):
    def __init__(self, d_in, d_out, bias=False):
        super().__init__()
        std = math.sqrt(2 / (d_in + d_out))
        self.weight = nn.Parameter(torch.empty(d_out, d_in))
        nn.init.trunc_normal_(self.weight, 0, std, -3 * std, 3 * std)
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None

    def forward(self, x):
        out = einsum(x, self.weight, "... i, o i -> ... o")
        return out if self.bias is None else out + self.bias


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, num_heads, num_kv_heads=None, *, d_head=None, rope=None, qk_norm=None, attend=None,
                 causal=True, bias=False, longest=64):
        super().__init__()
        num_kv_heads = num_kv_heads or num_heads
        if num_heads % num_kv_heads != 0:
            raise ValueError(f"num_heads {num_heads} is no multiple of num_kv_heads {num_kv_heads}")
        if d_head is None:
            if d_model % num_heads != 0:
                raise ValueError(f"d_model {d_model} is no multiple of num_heads {num_heads}")
            d_head = d_model // num_heads
        self.h, self.kv, self.rope, self.causal = num_heads, num_kv_heads, rope, causal
        self.attend = scaled_dot_product_attention if attend is None else attend
        self.q_proj = Linear(d_model, num_heads * d_head, bias)
        self.k_proj = Linear(d_model, num_kv_heads * d_head, bias)
        self.v_proj = Linear(d_model, num_kv_heads * d_head, bias)
        self.o_proj = Linear(num_heads * d_head, d_model, bias)
        if qk_norm is not None:
            self.q_norm, self.k_norm = qk_norm(d_head), qk_norm(d_head)
        self.register_buffer("lower", torch.ones(longest, longest, dtype=torch.bool).tril(), persistent=False)

    def forward(self, x, *, context=None, mask=None, token_positions=None, cache=None):
        batch, seq = x.shape[0], x.shape[1]
        source = x if context is None else context
        q = rearrange(self.q_proj(x), "b s (h d) -> b h s d", h=self.h)
        k = rearrange(self.k_proj(source), "b s (h d) -> b h s d", h=self.kv)
        v = rearrange(self.v_proj(source), "b s (h d) -> b h s d", h=self.kv)
        if hasattr(self, "q_norm"):
            q, k = self.q_norm(q), self.k_norm(k)
        if context is None:
            start = cache.length if cache is not None else 0
            if token_positions is None:
                token_positions = torch.arange(start, start + seq).expand(batch, seq)
                seen = self.lower[:start + seq, :start + seq][start:]
            else:
                token_positions = token_positions.expand(batch, seq)
                older = torch.ones(batch, 1, seq, start, dtype=torch.bool)
                new = token_positions[:, None, None, :] <= token_positions[:, None, :, None]
                seen = torch.cat([older, new], dim=-1)
            if self.rope is not None:
                q = self.rope(q, token_positions[:, None])
                k = self.rope(k, token_positions[:, None])
            if cache is not None:
                k, v = cache.update(k, v)
            if self.causal:
                mask = seen if mask is None else torch.logical_and(seen, mask)
        if self.kv != self.h:
            k, v = (z.repeat_interleave(self.h // self.kv, dim=1) for z in (k, v))
        out = self.attend(q, k, v, mask)
        return self.o_proj(rearrange(out, "b h s d -> b s (h d)"))
