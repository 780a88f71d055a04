"""einops for every change of shape; positions of queries and of keys are compared; type annotations."""

from collections.abc import Callable

import torch
from einops import einsum, rearrange, reduce, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


def softmax(x: Float[Tensor, "..."], dim: int) -> Float[Tensor, "..."]:
    moved = x.movedim(dim, -1)
    moved = moved.float() if x.element_size() == 2 else moved
    largest = reduce(moved.detach(), "... n -> ... 1", "max")
    largest = torch.nan_to_num(largest, neginf=0.0)
    powers = torch.exp(moved - largest)
    total = powers.sum(-1, keepdim=True)
    return (powers / total.masked_fill(total == 0, 1)).movedim(-1, dim).to(x.dtype)


def scaled_dot_product_attention(
    Q: Float[Tensor, "... q d"],
    K: Float[Tensor, "... k d"],
    V: Float[Tensor, "... k dv"],
    mask: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "... q dv"]:
    scores = einsum(Q, K, "... q d, ... k d -> ... q k") / Q.shape[-1] ** 0.5
    if mask is None:
        mask = torch.ones_like(scores, dtype=torch.bool)
    scores = torch.masked_fill(scores, ~mask, -torch.inf)
    return einsum(softmax(scores, -1), V, "... q k, ... k dv -> ... q dv")


def padding_mask(lengths: Int[Tensor, " batch"], k: int) -> Bool[Tensor, "batch 1 1 {k}"]:
    return rearrange(torch.arange(k, device=lengths.device), "k -> 1 1 1 k") < rearrange(lengths, "b -> b 1 1 1")


class MultiHeadAttention(nn.Module):
    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        *,
        d_head: int | None = None,
        rope: Callable | None = None,
        qk_norm: Callable | None = None,
        attend: Callable = scaled_dot_product_attention,
        causal: bool = True,
        bias: bool = False,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.num_kv_heads = num_kv_heads if num_kv_heads is not None else num_heads
        self.d_head = d_head if d_head is not None else d_model // num_heads
        if self.num_heads % self.num_kv_heads or (d_head is None and d_model % num_heads):
            raise ValueError("sizes that do not fit")
        self.q_proj, self.o_proj = self._pair(d_model, self.num_heads * self.d_head, bias)
        self.k_proj, _ = self._pair(d_model, self.num_kv_heads * self.d_head, bias)
        self.v_proj, _ = self._pair(d_model, self.num_kv_heads * self.d_head, bias)
        self.norms = nn.ModuleList([qk_norm(self.d_head) for _ in range(2)] if qk_norm else [])
        self.rope = rope
        self.attend = attend
        self.causal = causal

    @staticmethod
    def _pair(a: int, b: int, bias: bool) -> tuple[nn.Linear, nn.Linear]:
        return nn.Linear(a, b, bias=bias), nn.Linear(b, a, bias=bias)

    def forward(self, x, *, context=None, mask=None, token_positions=None, cache=None):
        is_cross = context is not None
        heads = "b s (h d) -> b h s d"
        q = rearrange(self.q_proj(x), heads, d=self.d_head)
        k = rearrange(self.k_proj(context if is_cross else x), heads, d=self.d_head)
        v = rearrange(self.v_proj(context if is_cross else x), heads, d=self.d_head)
        if self.norms:
            q, k = (norm(z) for norm, z in zip(self.norms, (q, k)))
        if not is_cross:
            start = 0 if cache is None else cache.length
            positions = (
                torch.arange(start, start + q.shape[2], device=x.device) if token_positions is None else token_positions
            )
            if self.rope is not None:
                shaped = positions if positions.ndim == 1 else rearrange(positions, "b s -> b 1 s")
                q, k = self.rope(q, shaped), self.rope(k, shaped)
            if cache is not None:
                k, v = cache.update(k, v)
            if self.causal:
                new = rearrange(positions, "... k -> ... 1 k") <= rearrange(positions, "... q -> ... q 1")
                past = torch.ones(*new.shape[:-1], k.shape[2] - q.shape[2], dtype=torch.bool, device=x.device)
                allowed = torch.cat([past, new], dim=-1)
                if allowed.ndim == 3:
                    allowed = rearrange(allowed, "b q k -> b 1 q k")
                mask = allowed if mask is None else allowed & mask
        group = self.num_heads // self.num_kv_heads
        k, v = (repeat(z, "b h s d -> b (h g) s d", g=group) for z in (k, v))
        out = self.attend(q, k, v, mask)
        return self.o_proj(rearrange(out, "b h s d -> b s (h d)"))
