"""einsum throughout, weights viewed per head, masks added as numbers, positions compared as a table."""

import torch
import torch.nn as nn
from torch import einsum


def softmax(x, dim):
    kind, x = x.dtype, x if x.dtype == torch.float64 else x.to(torch.float32)
    top = x.max(dim=dim, keepdim=True).values
    top = torch.where(torch.isfinite(top), top, torch.zeros_like(top))
    e = torch.exp(x - top)
    s = e.sum(dim=dim, keepdim=True)
    return (e / (s + (s == 0).to(s.dtype))).to(kind)


def scaled_dot_product_attention(Q, K, V, mask=None):
    logits = einsum("...qd,...kd->...qk", Q, K) * (Q.size(-1) ** -0.5)
    if mask is not None:
        penalty = torch.zeros(mask.shape, dtype=logits.dtype, device=logits.device)
        penalty = penalty.masked_fill(mask.logical_not(), -torch.inf)
        logits = logits + penalty
    return einsum("...qk,...kv->...qv", softmax(logits, dim=-1), V)


def padding_mask(lengths, k):
    return torch.stack([torch.arange(k) < n for n in lengths]).view(-1, 1, 1, k)


class SizeError(ValueError):
    """A size that does not fit."""


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
        attend=scaled_dot_product_attention,
        causal=True,
        bias=False,
    ):
        super().__init__()
        if num_kv_heads is None:
            num_kv_heads = num_heads
        if d_head is None:
            d_head, rest = divmod(d_model, num_heads)
            if rest:
                raise SizeError(d_model)
        if num_heads % num_kv_heads:
            raise SizeError(num_kv_heads)
        self.H, self.G, self.D = num_heads, num_kv_heads, d_head
        for name, size in (("q_proj", num_heads), ("k_proj", num_kv_heads), ("v_proj", num_kv_heads)):
            setattr(self, name, nn.Linear(d_model, size * d_head, bias=bias))
        self.o_proj = nn.Linear(num_heads * d_head, d_model, bias=bias)
        if qk_norm is not None:
            self.norms = nn.ModuleDict({"q": qk_norm(d_head), "k": qk_norm(d_head)})
        else:
            self.norms = None
        self.rope = rope
        self.fn = attend
        self.causal = causal

    def project(self, x, layer, heads):
        w = layer.weight.view(heads, self.D, -1)
        y = einsum("bsm,hdm->bhsd", x, w)
        if layer.bias is not None:
            y = y + layer.bias.view(1, heads, 1, self.D)
        return y

    def forward(self, x, *, context=None, mask=None, token_positions=None, cache=None):
        kv_source = context if context is not None else x
        q = self.project(x, self.q_proj, self.H)
        k = self.project(kv_source, self.k_proj, self.G)
        v = self.project(kv_source, self.v_proj, self.G)
        if self.norms is not None:
            q = self.norms["q"](q)
            k = self.norms["k"](k)
        if context is None:
            n = x.shape[1]
            offset = cache.length if cache is not None else 0
            pos = token_positions
            if pos is None:
                pos = torch.arange(offset, offset + n, device=x.device)
            if self.rope is not None:
                per_head = pos.view(1, 1, n) if pos.ndim == 1 else pos.view(-1, 1, n)
                q, k = self.rope(q, per_head), self.rope(k, per_head)
            if cache is not None:
                k, v = cache.update(k, v)
            if self.causal:
                total = k.shape[2]
                now = pos if pos.ndim == 2 else pos[None]
                table = torch.ones(len(now), 1, n, total, dtype=torch.bool, device=x.device)
                table[..., total - n :] = now.view(-1, 1, 1, n) <= now.view(-1, 1, n, 1)
                mask = table if mask is None else torch.logical_and(mask, table)
        times = self.H // self.G
        k = k[:, :, None].expand(-1, -1, times, -1, -1).flatten(1, 2)
        v = v[:, :, None].expand(-1, -1, times, -1, -1).flatten(1, 2)
        heads = self.fn(q, k, v, mask)
        w = self.o_proj.weight.view(-1, self.H, self.D)
        out = einsum("bhsd,mhd->bsm", heads, w)
        return out if self.o_proj.bias is None else out + self.o_proj.bias
