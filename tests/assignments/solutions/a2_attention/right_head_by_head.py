"""Plain loops: over heads in the module, over queries in attention; logsumexp in softmax; slow and easy to read."""

import torch
from torch import nn


def softmax(x, dim):
    kind = x.dtype
    if kind != torch.float64:
        x = x.float()
    nothing = (x == float("-inf")).all(dim, keepdim=True)
    safe = torch.where(nothing, torch.zeros_like(x), x)
    weights = torch.exp(safe - torch.logsumexp(safe, dim, keepdim=True))
    return torch.where(nothing, torch.zeros_like(weights), weights).to(kind)


def scaled_dot_product_attention(Q, K, V, mask=None):
    front = torch.broadcast_shapes(Q.shape[:-2], K.shape[:-2], V.shape[:-2])
    if mask is not None:
        front = torch.broadcast_shapes(front, mask.shape[:-2])
        mask = mask.expand(*front, Q.shape[-2], K.shape[-2])
    Q, K, V = (z.expand(*front, *z.shape[-2:]) for z in (Q, K, V))
    rows = []
    for i in range(Q.shape[-2]):
        scores = (K * Q[..., i : i + 1, :]).sum(-1) / Q.shape[-1] ** 0.5
        if mask is not None:
            scores = torch.where(mask[..., i, :], scores, torch.full_like(scores, float("-inf")))
        weights = softmax(scores, -1)
        rows.append((weights.unsqueeze(-1) * V).sum(-2))
    return torch.stack(rows, dim=-2)


def padding_mask(lengths, k):
    return torch.tensor([[[[i < n for i in range(k)]]] for n in lengths.tolist()])


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
        nn.Module.__init__(self)
        self.heads = num_heads
        self.groups = num_heads if num_kv_heads is None else num_kv_heads
        self.size = d_model // num_heads if d_head is None else d_head
        if d_head is None and self.size * num_heads != d_model:
            raise ValueError("d_model")
        if self.heads % self.groups != 0:
            raise ValueError("num_kv_heads")
        self.q_proj = nn.Linear(d_model, self.heads * self.size, bias)
        self.k_proj = nn.Linear(d_model, self.groups * self.size, bias)
        self.v_proj = nn.Linear(d_model, self.groups * self.size, bias)
        self.o_proj = nn.Linear(self.heads * self.size, d_model, bias)
        self.norm_q = self.norm_k = None
        if qk_norm is not None:
            self.norm_q = qk_norm(self.size)
            self.norm_k = qk_norm(self.size)
        self.rope, self.attend, self.causal = rope, attend, causal

    def pieces(self, features):
        return list(features.split(self.size, dim=-1))

    def forward(self, x, *, context=None, mask=None, token_positions=None, cache=None):
        batch, seq, _ = x.shape
        other = x if context is None else context
        queries = self.pieces(self.q_proj(x))
        keys = self.pieces(self.k_proj(other))
        values = self.pieces(self.v_proj(other))
        if self.norm_q is not None:
            queries = [self.norm_q(q) for q in queries]
            keys = [self.norm_k(k) for k in keys]
        if context is None:
            if token_positions is None:
                first = 0
                if cache is not None:
                    first = cache.length
                token_positions = torch.arange(seq, device=x.device) + first
            if self.rope is not None:
                queries = [self.rope(q, token_positions) for q in queries]
                keys = [self.rope(k, token_positions) for k in keys]
        keys, values = torch.stack(keys, 1), torch.stack(values, 1)
        if context is None and cache is not None:
            keys, values = cache.update(keys, values)
        if context is None and self.causal:
            old = keys.shape[2] - seq
            rows = token_positions.tolist() if token_positions.ndim == 2 else [token_positions.tolist()]
            visible = [[[[True] * old + [k <= q for k in row] for q in row]] for row in rows]
            visible = torch.tensor(visible, device=x.device)
            mask = visible if mask is None else visible * mask
        order = [head * self.groups // self.heads for head in range(self.heads)]
        out = self.attend(torch.stack(queries, 1), keys[:, order], values[:, order], mask)
        return self.o_proj(torch.cat([out[:, head] for head in range(self.heads)], dim=-1))
