# Built from assignments/text/a2_attention.py by `cs336lite build`: edit that file, not this one.
"""Attention (注意力): softmax, scaled dot-product attention, and the multi-head module with every slot a model needs.

Vaswani et al. 2017, "Attention Is All You Need", section 3.2; heads that share keys and values as in Shazeer 2019,
"Fast Transformer Decoding" (MQA), and Ainslie et al. 2023, "GQA".

Shapes: ``batch``, ``seq`` tokens, ``q`` queries, ``k`` keys, ``d`` the size of a query and of a key, ``dv`` of a value,
``head`` (num_heads), ``kv`` (num_kv_heads), ``d_head``, ``d_model``. A mask is boolean, True = may attend.

Built in assignments/source/a2_attention/a2_attention.ipynb.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cs336lite.slots import shares_heads


def softmax(x: Float[Tensor, "..."], dim: int) -> Float[Tensor, "..."]:
    """Weights exp(x_i) / sum_j exp(x_j) along ``dim``, stable for scores of any size; the shape and dtype of ``x``.

    A row of -inf alone gives zeros, also as its gradient. float16 and bfloat16 are computed in float32.

    >>> softmax(torch.tensor([[1000.0, 1000.0], [-torch.inf, -torch.inf]]), dim=-1).tolist()
    [[0.5, 0.5], [0.0, 0.0]]
    """
    if not x.is_floating_point():
        raise TypeError(f"softmax needs floating-point scores, and these are {x.dtype}")
    if not x.numel():
        return x.clone()
    scores = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    peak = scores.detach().amax(dim, keepdim=True)
    powers = torch.exp(scores - peak.clamp(min=torch.finfo(peak.dtype).min))  # -inf - -inf would be NaN
    # the greatest score contributes exactly 1, so the sum is below 1 only where all are -inf, and there it is 0
    return (powers / powers.sum(dim, keepdim=True).clamp(min=1)).to(x.dtype)


def scaled_dot_product_attention(
    Q: Float[Tensor, "... q d"],
    K: Float[Tensor, "... k d"],
    V: Float[Tensor, "... k dv"],
    mask: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "... q dv"]:
    """softmax(Q K^T / sqrt(d)) V over the keys that ``mask`` allows (1706.03762, equation 1).

    ``mask`` broadcasts to (..., q, k), True = may attend; a query that may attend to no key gets zeros.

    >>> Q, K, V = torch.zeros(1, 4), torch.zeros(3, 4), torch.tensor([[1.0], [2.0], [6.0]])
    >>> may = torch.tensor([True, True, False])
    >>> scaled_dot_product_attention(Q, K, V).item(), scaled_dot_product_attention(Q, K, V, may).item()
    (3.0, 1.5)
    """
    if not all(x.is_floating_point() for x in (Q, K, V)):
        raise TypeError(f"Q, K and V are {Q.dtype}, {K.dtype} and {V.dtype}, and must be floating-point numbers")
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"mask is {mask.dtype}, and must be torch.bool: True = may attend")
    scores = (Q * Q.shape[-1] ** -0.5) @ K.mT  # scaled first: float16 overflows less easily
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return softmax(scores, dim=-1) @ V


def repeat_kv(x: Float[Tensor, "batch kv k d_head"], num_heads: int) -> Float[Tensor, "batch {num_heads} k d_head"]:
    """Each head of keys or values as often as query heads share it, neighbours together: a b -> a a b b.

    >>> repeat_kv(torch.tensor([1.0, 2.0]).view(1, 2, 1, 1), 4).flatten().tolist()
    [1.0, 1.0, 2.0, 2.0]
    """
    if x.shape[1] == num_heads:
        return x  # nothing to copy
    return x.unsqueeze(2).expand(-1, -1, num_heads // x.shape[1], -1, -1).flatten(1, 2)


def causal_mask(positions: Int[Tensor, "*batch seq"], past: int = 0) -> Bool[Tensor, "..."]:
    """Which keys each query may attend to: all ``past`` ones, and of the new ones those at its position or before it.

    (seq,) positions give (seq, past + seq); (batch, seq) give (batch, 1, seq, past + seq), the same for every head.

    >>> causal_mask(torch.tensor([1, 2]), past=1).int().tolist()
    [[1, 1, 0], [1, 1, 1]]
    """
    new = positions.unsqueeze(-2) <= positions.unsqueeze(-1)  # key <= query
    allowed = torch.cat([new.new_ones(*new.shape[:-1], past), new], dim=-1)
    return allowed if positions.ndim == 1 else allowed.unsqueeze(1)


def padding_mask(lengths: Int[Tensor, " batch"], k: int) -> Bool[Tensor, "batch 1 1 {k}"]:
    """True for the first ``lengths[b]`` of ``k`` keys: a mask that every head and every query shares.

    >>> padding_mask(torch.tensor([1, 3]), 3).int().tolist()
    [[[[1, 0, 0]]], [[[1, 1, 1]]]]
    """
    return (torch.arange(k, device=lengths.device) < lengths[:, None])[:, None, None]


@runtime_checkable
class Cache(Protocol):
    """What `MultiHeadAttention` asks of a cache of keys and values (KV 缓存): one for each layer."""

    length: int  # tokens that it holds

    def update(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append keys and values of new tokens, (batch, num_kv_heads, seq, d_head); returns those of all tokens."""


def positions_of(
    x: Float[Tensor, "batch seq d_model"],
    token_positions: Int[Tensor, "*batch seq"] | None = None,
    cache: Cache | None = None,
) -> Int[Tensor, "*batch seq"]:
    """Where the tokens of ``x`` stand: as given, else numbered on from what the cache holds, else from 0.

    >>> positions_of(torch.zeros(1, 3, 8)).tolist()
    [0, 1, 2]
    """
    if token_positions is not None:
        return token_positions
    start = 0 if cache is None else cache.length
    return torch.arange(start, start + x.shape[1], device=x.device)


class MultiHeadAttention(nn.Module):
    """Attention with several heads (1706.03762, section 3.2.2), which may share keys and values (MQA, GQA).

    Args:
        d_model: size of a token's vector, at the input and at the output.
        num_heads: heads of queries.
        num_kv_heads: heads of keys and values, a divisor of ``num_heads``, which is the default; 1 is MQA.
        d_head: size of a query, a key and a value in one head; by default ``d_model // num_heads``.
        rope: turns queries and keys by their positions: ``rope(x, token_positions)`` (cs336lite.rope).
        qk_norm: makes a normalisation, ``qk_norm(d_head) -> module``: one for queries, one for keys, before ``rope``.
        attend: ``attend(Q, K, V, mask)``, with keys and values repeated to ``num_heads``.
        causal: a token attends to itself and to what comes before it.
        bias: whether the four projections have biases.

    Raises ValueError when ``num_heads`` is no multiple of ``num_kv_heads``, or ``d_model`` none of ``num_heads`` and no
    ``d_head`` is given.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        *,
        d_head: int | None = None,
        rope: Callable[[Tensor, Tensor], Tensor] | None = None,
        qk_norm: Callable[[int], nn.Module] | None = None,
        attend: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor] = scaled_dot_product_attention,
        causal: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if num_kv_heads < 1 or num_heads % num_kv_heads:
            raise ValueError(f"{num_heads} heads cannot share {num_kv_heads} heads of keys and values evenly")
        if d_head is None and d_model % num_heads:
            raise ValueError(f"d_model {d_model} does not divide evenly into {num_heads} heads")
        d_head = d_model // num_heads if d_head is None else d_head
        if d_head < 1:
            raise ValueError(f"a head has {d_head} dimensions: it must be at least 1")
        self.num_heads, self.num_kv_heads, self.d_head = num_heads, num_kv_heads, d_head
        self.q_proj = nn.Linear(d_model, num_heads * d_head, bias=bias)
        self.k_proj = nn.Linear(d_model, num_kv_heads * d_head, bias=bias)
        self.v_proj = nn.Linear(d_model, num_kv_heads * d_head, bias=bias)
        self.o_proj = nn.Linear(num_heads * d_head, d_model, bias=bias)
        self.q_norm = nn.Identity() if qk_norm is None else qk_norm(d_head)
        self.k_norm = nn.Identity() if qk_norm is None else qk_norm(d_head)
        self.rope, self.attend, self.causal = rope, attend, causal

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        *,
        context: Float[Tensor, "batch k d_model"] | None = None,
        mask: Bool[Tensor, "..."] | None = None,
        token_positions: Int[Tensor, "..."] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """Each token's mean of the values that it may attend to, head by head, projected back to ``d_model``.

        Args:
            x: the tokens that ask.
            context: for cross-attention, the tokens that are asked; neither causal mask, rope nor cache applies then.
            mask: broadcasts to (batch, num_heads, q, k), True = may attend; the causal mask must allow it as well.
            token_positions: (seq,) or (batch, seq), by default numbered from ``cache.length``, or from 0.
            cache: holds keys and values of earlier tokens, and is given those of ``x``.
        """
        if mask is not None and mask.dtype != torch.bool:
            raise TypeError(f"mask is {mask.dtype}, and must be torch.bool: True = may attend")
        source = x if context is None else context
        q, k, v = self._split(self.q_proj(x)), self._split(self.k_proj(source)), self._split(self.v_proj(source))
        q, k = self.q_norm(q), self.k_norm(k)
        if context is None:
            positions = positions_of(x, token_positions, cache)
            if self.rope is not None:
                heads = self.rope(torch.cat((q, k), dim=1), positions.unsqueeze(-2))  # in one call: all turn alike
                q, k = heads.split((self.num_heads, self.num_kv_heads), dim=1)
            if cache is not None:
                k, v = cache.update(k, v)
            if self.causal and x.shape[1] > 1:  # a single new token may see everything
                causal = causal_mask(positions, past=k.shape[2] - x.shape[1])
                mask = causal if mask is None else mask & causal
        if not shares_heads(self.attend):  # one that says so reads shared heads without copies
            k, v = repeat_kv(k, self.num_heads), repeat_kv(v, self.num_heads)
        out = self.attend(q, k, v, mask)
        out = out.transpose(1, 2).flatten(2)  # (batch, seq, head * d_head)
        if out.shape[:2] != x.shape[:2]:  # something broadcast the other way
            raise ValueError(
                f"x is {tuple(x.shape[:2])} (batch, seq), and with its mask, context and cache {tuple(out.shape[:2])}"
            )
        return self.o_proj(out)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.d_head)).transpose(1, 2)  # (batch, head, seq, d_head)
