"""The definitions, slowly: in float64, head by head. A misconception is one of them with a part replaced."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .inputs import INF, normal


def weights_of(scores: Tensor, dim: int = -1) -> Tensor:
    """Softmax; zeros where all scores are -inf."""
    peak = scores.amax(dim, keepdim=True)
    powers = (scores - torch.where(peak == -INF, torch.zeros_like(peak), peak)).exp()
    total = powers.sum(dim, keepdim=True)
    return powers / torch.where(total == 0, torch.ones_like(total), total)


def attend_to(Q: Tensor, K: Tensor, V: Tensor, allowed: Tensor | None = None, scale: float | None = None) -> Tensor:
    """Attention for matrices and whatever stands in front; ``scale`` multiplies the scores."""
    scores = torch.einsum("...qd,...kd->...qk", Q, K) * (Q.shape[-1] ** -0.5 if scale is None else scale)
    if allowed is not None:
        scores = torch.where(allowed, scores, torch.tensor(-INF, dtype=scores.dtype))
    return torch.einsum("...qk,...kd->...qd", weights_of(scores), V)


def split_right(x: Tensor, heads: int) -> Tensor:
    """(batch, seq, heads * d) to (batch, heads, seq, d): head h owns the features from h * d on."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def split_by_view(x: Tensor, heads: int) -> Tensor:
    return x.reshape(x.shape[0], heads, x.shape[1], -1)


def split_interleaved(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2)


def join_right(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def join_by_view(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], x.shape[2], -1)


def join_interleaved(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).flatten(2)


def turned(x: Tensor, positions: Tensor) -> Tensor:
    """The stand-in for rotary positions, of the same kind as the one in `drive_module`.

    Unlike the real one it shows absolute positions, so that a wrong start of the numbering is seen.
    """
    steps = positions.to(x.dtype).unsqueeze(-1)
    ramp = torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype)
    return x * (1 + 0.3 * steps) + 0.4 * steps * ramp


def normed(x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt()


def module_of(
    x: Tensor,
    w: dict[str, Tensor],
    heads: int,
    kv_heads: int | None = None,
    *,
    allowed: Tensor | None = None,
    context: Tensor | None = None,
    split: Callable[[Tensor, int], Tensor] = split_right,
    join: Callable[[Tensor], Tensor] = join_right,
    share: Callable[[int, int, int], int] = lambda head, group, kv_heads: head // group,
    prepare: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]] = lambda q, k, v: (q, k, v),
    scale: float | None = None,
    transposed: bool = False,
    project: bool = True,
) -> Tensor:
    """The module's output; ``prepare`` does what is done to the heads between projection and attention."""
    kv_heads = heads if kv_heads is None else kv_heads
    source = x if context is None else context

    def linear(z: Tensor, name: str) -> Tensor:
        weight = w[f"{name}.weight"]
        return z @ (weight if transposed else weight.mT) + w.get(f"{name}.bias", torch.zeros(()))

    q = split(linear(x, "q_proj"), heads)
    k, v = split(linear(source, "k_proj"), kv_heads), split(linear(source, "v_proj"), kv_heads)
    q, k, v = prepare(q, k, v)
    one_by_one = []
    for head in range(heads):
        kv = share(head, heads // kv_heads, kv_heads)
        may = None if allowed is None else allowed.expand(x.shape[0], heads, *allowed.shape[-2:])[:, head]
        one_by_one.append(attend_to(q[:, head], k[:, kv], v[:, kv], may, scale))
    joined = join(torch.stack(one_by_one, dim=1))
    return linear(joined, "o_proj") if project else joined


def causal_of(n: int, past: int = 0) -> Tensor:
    """(n, past + n): which keys the last n tokens may attend to."""
    return torch.arange(past + n) <= past + torch.arange(n)[:, None]


def weights_for(rng, d_model: int, heads: int, kv_heads: int, d_head: int, bias: bool = False) -> dict[str, Tensor]:
    """Weights of the four projections, in nn.Linear's layout, so large that attention has something to choose."""
    outputs = {"q_proj": heads * d_head, "k_proj": kv_heads * d_head, "v_proj": kv_heads * d_head, "o_proj": d_model}
    made = {}
    for name, size in outputs.items():
        inputs = heads * d_head if name == "o_proj" else d_model
        made[f"{name}.weight"] = normal(rng, size, inputs) * 1.5 * inputs**-0.5
        if bias:
            made[f"{name}.bias"] = normal(rng, size)
    return made
