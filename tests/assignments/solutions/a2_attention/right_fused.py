"""One matrix product for queries, keys and values, whose weights stay separate parameters; baddbmm in attention."""

import math

import torch
import torch.nn.functional as F
from torch import nn


def softmax(x, dim):
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    empty = torch.isneginf(wide).all(dim=dim, keepdim=True)
    wide = wide.masked_fill(empty, 0.0)
    shifted = wide - torch.amax(wide, dim=dim, keepdim=True)
    e = shifted.exp()
    return e.div(e.sum(dim=dim, keepdim=True)).masked_fill(empty, 0.0).type_as(x)


def scaled_dot_product_attention(Q, K, V, mask=None):
    root = math.sqrt(math.sqrt(Q.shape[-1]))
    scores = torch.matmul(Q / root, (K / root).transpose(-1, -2))
    if mask is not None:
        scores = torch.where(mask, scores, -math.inf)
    return torch.matmul(softmax(scores, dim=-1), V)


def padding_mask(lengths, k):
    return torch.lt(torch.arange(k, device=lengths.device), lengths.unsqueeze(1))[:, None, None, :]


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
        self.n_q, self.n_kv = num_heads, num_kv_heads or num_heads
        if num_heads % self.n_kv or not d_head and d_model % num_heads:
            raise ValueError(f"{d_model}, {num_heads} and {num_kv_heads} do not fit")
        self.width = d_head or d_model // num_heads
        self.q_proj = nn.Linear(d_model, self.n_q * self.width, bias=bias)
        self.k_proj = nn.Linear(d_model, self.n_kv * self.width, bias=bias)
        self.v_proj = nn.Linear(d_model, self.n_kv * self.width, bias=bias)
        self.o_proj = nn.Linear(self.n_q * self.width, d_model, bias=bias)
        make = qk_norm if qk_norm is not None else (lambda size: nn.Identity())
        self.q_norm, self.k_norm = make(self.width), make(self.width)
        self.rope, self.attend, self.causal = rope, attend, causal

    def together(self, x, layers):
        weight = torch.cat([layer.weight for layer in layers])
        bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
        heads = F.linear(x, weight, bias).unflatten(-1, (-1, self.width)).movedim(2, 1)
        return heads.split([layer.weight.shape[0] // self.width for layer in layers], dim=1)

    def forward(self, x, *, context=None, mask=None, token_positions=None, cache=None):
        if context is None:
            q, k, v = self.together(x, [self.q_proj, self.k_proj, self.v_proj])
        else:
            (q,) = self.together(x, [self.q_proj])
            k, v = self.together(context, [self.k_proj, self.v_proj])
        q, k = self.q_norm(q), self.k_norm(k)
        if context is None:
            if token_positions is None:
                past = 0 if cache is None else cache.length
                token_positions = past + torch.arange(x.shape[1], device=x.device)
            if self.rope is not None:
                both = self.rope(torch.cat([q, k], dim=1), token_positions[..., None, :])
                q, k = both.split([self.n_q, self.n_kv], dim=1)
            if cache is not None:
                k, v = cache.update(k, v)
            if self.causal:
                new = token_positions[..., None, :] <= token_positions[..., None]
                lower = torch.nn.functional.pad(new, (k.shape[2] - x.shape[1], 0), value=True)
                lower = lower.unsqueeze(1) if lower.ndim == 3 else lower
                mask = lower if mask is None else lower & mask
        k, v = (torch.repeat_interleave(z, self.n_q // self.n_kv, dim=1) for z in (k, v))
        return self.o_proj(self.attend(q, k, v, mask).movedim(1, 2).flatten(2))
