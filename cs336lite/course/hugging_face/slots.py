"""What families put into the slots ``norm``, ``qk_norm`` and ``attend`` (Gemma: arXiv 2403.08295, 2408.00118)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cs336lite.model import capped
from cs336lite.positions import attend_with_scores


class OffsetRMSNorm(nn.Module):
    """RMSNorm with the gain 1 + weight, so that weight decay draws gains to 1: ``norm=NormSlot(OffsetRMSNorm, 1e-6)``.

    >>> OffsetRMSNorm(2, eps=0.0)(torch.tensor([3.0, 3.0])).tolist()
    [1.0, 1.0]
    """

    def __init__(self, d: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(d))

    def forward(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        scaled = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + self.eps)
        return (scaled * (1 + self.weight.to(wide.dtype))).to(x.dtype)  # rounded once, at the end


@dataclass(frozen=True)
class NormSlot:
    """The slots ``norm`` and ``qk_norm``: a norm of this kind with this ``eps``, over ``d`` dimensions."""

    kind: Callable[[int, float], nn.Module]
    eps: float

    def __call__(self, d: int) -> nn.Module:
        return self.kind(d, self.eps)


@dataclass(frozen=True)
class ScaledScores:
    """The slot ``attend``: softmax(cap * tanh(scale * Q K^T / cap)) V; without a cap, softmax(scale * Q K^T) V."""

    scale: float
    cap: float | None = None

    def __call__(
        self,
        Q: Float[Tensor, "batch head q d"],
        K: Float[Tensor, "batch head k d"],
        V: Float[Tensor, "batch head k d"],
        mask: Bool[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "batch head q d"]:
        return attend_with_scores(capped((Q * self.scale) @ K.mT, self.cap), V, mask)
