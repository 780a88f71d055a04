"""An autograd function of its own for softmax, a Linear of its own, attention over flattened batches with bmm."""

import torch
from torch import nn


class SoftmaxFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, dim):
        kind = x.dtype
        x = x.to(torch.promote_types(kind, torch.float32))
        peak, _ = x.max(dim, keepdim=True)
        peak[peak == float("-inf")] = 0
        e = (x - peak).exp_()
        total = e.sum(dim, keepdim=True)
        total[total == 0] = 1
        out = e.div_(total).to(kind)
        ctx.save_for_backward(out)
        ctx.dim = dim
        return out

    @staticmethod
    def backward(ctx, grad):
        (out,) = ctx.saved_tensors
        product = grad * out
        return product - out * product.sum(ctx.dim, keepdim=True), None


def softmax(x, dim):
    return SoftmaxFunction.apply(x, dim)


def scaled_dot_product_attention(Q, K, V, mask=None):
    front = torch.broadcast_shapes(Q.shape[:-2], K.shape[:-2], V.shape[:-2])
    flat = [z.expand(*front, *z.shape[-2:]).reshape(-1, *z.shape[-2:]) for z in (Q, K, V)]
    scores = torch.bmm(flat[0], flat[1].mT).mul(Q.shape[-1] ** -0.5)
    scores = scores.view(*front, Q.shape[-2], K.shape[-2])
    if mask is not None:
        bias = torch.zeros_like(scores)
        bias[~mask.expand_as(scores)] = float("-inf")
        scores = scores + bias
    weights = softmax(scores, scores.ndim - 1)
    return torch.bmm(weights.reshape(-1, *weights.shape[-2:]), flat[2]).view(*front, Q.shape[-2], V.shape[-1])


def padding_mask(lengths, k):
    return torch.ones(len(lengths), 1, 1, k).cumsum(-1) <= lengths.view(-1, 1, 1, 1)


class Linear(nn.Module):
    def __init__(self, inputs, outputs, bias):
        super().__init__()
        self.weight = nn.Parameter(nn.init.trunc_normal_(torch.empty(outputs, inputs), std=inputs**-0.5))
        if bias:
            self.bias = nn.Parameter(torch.zeros(outputs))
        else:
            self.register_parameter("bias", None)

    def forward(self, x):
        y = x @ self.weight.mT
        return y if self.bias is None else y + self.bias


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, num_heads, num_kv_heads=None, **options):
        super().__init__()
        bias = options.get("bias", False)
        self.causal = options.get("causal", True)
        self.rope = options.get("rope")
        self.attend = options.get("attend", scaled_dot_product_attention)
        self.shape = (num_heads, options.get("d_head") or d_model // num_heads)
        self.kv_shape = (num_kv_heads or num_heads, self.shape[1])
        if num_heads % self.kv_shape[0] or (options.get("d_head") is None and d_model % num_heads):
            raise ValueError("sizes do not fit")
        inner, inner_kv = self.shape[0] * self.shape[1], self.kv_shape[0] * self.kv_shape[1]
        self.q_proj = Linear(d_model, inner, bias)
        self.k_proj = Linear(d_model, inner_kv, bias)
        self.v_proj = Linear(d_model, inner_kv, bias)
        self.o_proj = Linear(inner, d_model, bias)
        factory = options.get("qk_norm")
        self.query_norm = factory and factory(self.shape[1])
        self.key_norm = factory and factory(self.shape[1])

    def self_attention(self, x, mask, token_positions, cache):
        q, k, v = self.heads(x, x)
        length = cache.length if cache is not None else 0
        if token_positions is None:
            token_positions = torch.arange(length, length + x.shape[1], device=x.device)
        if self.rope:
            # turned while the heads still stand behind the tokens
            q, k = (self.rope(z, token_positions.unsqueeze(-1)) for z in (q, k))
        q, k, v = (z.transpose(1, 2) for z in (q, k, v))
        if cache is not None:
            k, v = cache.update(k, v)
        if self.causal and x.shape[1] > 1:
            order = token_positions.reshape(-1, x.shape[1])
            future = torch.zeros(len(order), 1, x.shape[1], k.shape[-2], device=x.device)
            future[..., k.shape[-2] - x.shape[1] :] = order[:, None, None, :] > order[:, None, :, None]
            future = future.bool()
            mask = ~future if mask is None else mask & ~future
        return q, k, v, mask

    def heads(self, x, source):
        q = self.q_proj(x).unflatten(-1, self.shape)
        k = self.k_proj(source).unflatten(-1, self.kv_shape)
        v = self.v_proj(source).unflatten(-1, self.kv_shape)
        if self.query_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        return q, k, v

    def forward(self, x, *, context=None, mask=None, token_positions=None, cache=None):
        if context is None:
            q, k, v, mask = self.self_attention(x, mask, token_positions, cache)
        else:
            q, k, v = (z.transpose(1, 2) for z in self.heads(x, context))
        index = torch.arange(self.shape[0]).div(self.shape[0] // self.kv_shape[0], rounding_mode="floor")
        out = self.attend(q, k.index_select(1, index), v.index_select(1, index), mask)
        return self.o_proj(out.transpose(1, 2).flatten(-2))
