# Built from notebooks/text/05_stability.py by `cs336lite build`: edit that file, not this one.
"""What keeps training stable: z-loss, soft caps and QK-norm for the slots of lecture 03's model, and monitors.

z-loss: Chowdhery et al. 2022 (PaLM), arXiv 2204.02311. Soft caps: Gemma 2, arXiv 2408.00118. QK-norm: Henry et al.
2020, arXiv 2010.04245; Dehghani et al. 2023 (ViT-22B), arXiv 2302.05442.

    config.replace(loss=ZLoss(1e-4), qk_norm=QKNorm(), attend=SoftCappedAttention(50.0))
    train(watch(config), training, data, observe=monitor)

Shapes: n tokens, hidden (n, d_model), weight (vocab, d_model), targets (n,); Q (batch, head, q, d_head). A target of
-100 does not count. A mask is boolean, True = may attend.

Built in notebooks/05_stability.ipynb.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cs336lite.attention import scaled_dot_product_attention
from cs336lite.layers import LayerNorm, RMSNorm
from cs336lite.model import Transformer, TransformerConfig, cross_entropy, sdpa
from cs336lite.positions import attend_with_scores
from cs336lite.slots import Attend, masks_causally


def log_z(logits: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows"]:
    """log sum_i exp(logits_i), the logarithm of softmax's denominator Z, in float32 or better.

    >>> round(log_z(torch.zeros(256)).item(), 3)
    5.545
    """
    return torch.logsumexp(logits.float() if logits.dtype != torch.float64 else logits, dim=-1)


def penalised_cross_entropy(
    logits: Float[Tensor, "n vocab"], targets: Int[Tensor, " n"], z: float = 0.0
) -> Float[Tensor, ""]:
    """The mean of (log Z - logit of the target) + z * (log Z)^2 over targets that are not -100; nan without any.

    The second term is PaLM's z-loss (2204.02311, section 5). One logsumexp serves both.
    """
    kept = targets != -100
    denominator = log_z(logits)
    target = logits.gather(-1, targets.masked_fill(~kept, 0).unsqueeze(-1)).squeeze(-1)
    return (denominator - target + z * denominator.square())[kept].mean()


class _OutputLoss:
    """A loss slot: cross entropy of ``logits``, plus ``z`` times the square of log Z."""

    z: float

    def __post_init__(self) -> None:
        if not self.z >= 0:
            raise ValueError(f"z must be at least 0: {self}")

    def logits(
        self, hidden: Float[Tensor, "n d_model"], weight: Float[Tensor, "vocab d_model"]
    ) -> Float[Tensor, "n vocab"]:
        """What softmax is given, in float32."""
        return (hidden @ weight.T).float()

    def __call__(
        self, hidden: Float[Tensor, "n d_model"], weight: Float[Tensor, "vocab d_model"], targets: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        return penalised_cross_entropy(self.logits(hidden, weight), targets, self.z)


@dataclass(frozen=True)
class ZLoss(_OutputLoss):
    """The slot ``loss=ZLoss(1e-4)``: cross entropy + z * mean (log Z)^2 (PaLM, arXiv 2204.02311).

    >>> hidden, weight = torch.zeros(3, 4), torch.zeros(256, 4)
    >>> round(ZLoss(0.0)(hidden, weight, torch.tensor([1, 2, -100])).item(), 3)  # log 256
    5.545
    """

    z: float = 1e-4


@dataclass(frozen=True)
class SoftCappedLoss(_OutputLoss):
    """The slot ``loss=SoftCappedLoss(30.0)``: logits stay between -cap and cap (Gemma 2, arXiv 2408.00118).

    ``z`` adds the z-loss of the capped logits. Validate with ``score=capped_cross_entropy``.
    """

    cap: float = 30.0
    z: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.cap > 0:
            raise ValueError(f"a cap must be above 0: {self}")

    def logits(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return soft_cap(super().logits(hidden, weight), self.cap)


def soft_cap(x: Float[Tensor, "..."], cap: float) -> Float[Tensor, "..."]:
    """cap * tanh(x / cap): x where it is small, never beyond -cap and cap (2408.00118, section 2).

    >>> soft_cap(torch.tensor([-1000.0, 0.5, 1000.0]), 50.0).round().tolist()
    [-50.0, 0.0, 50.0]
    """
    return cap * torch.tanh(x / cap)


@dataclass(frozen=True)
class SoftCappedAttention:
    """The slot ``attend=SoftCappedAttention(50.0)``: softmax(soft_cap(Q K^T / sqrt(d), cap)) V (arXiv 2408.00118)."""

    cap: float = 50.0

    def __post_init__(self) -> None:
        if not self.cap > 0:
            raise ValueError(f"a cap must be above 0: {self}")

    def __call__(
        self,
        Q: Float[Tensor, "batch head q d"],
        K: Float[Tensor, "batch head k d"],
        V: Float[Tensor, "batch head k d"],
        mask: Bool[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "batch head q d"]:
        logits = soft_cap(Q @ K.mT / math.sqrt(Q.shape[-1]), self.cap)
        return attend_with_scores(logits, V, mask)  # the mask comes after the cap, which would make -inf finite


@dataclass(frozen=True)
class QKNorm:
    """The slot ``qk_norm=QKNorm()``: queries and keys are normalised per head before RoPE, each with learned gains.

    ``kind`` is "rmsnorm", or "layernorm" without bias as in ViT-22B. Then no logit exceeds sqrt(d_head) times the
    largest gain of the queries and that of the keys, whatever the weights are.
    """

    kind: str = "rmsnorm"
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.kind not in ("rmsnorm", "layernorm"):
            raise ValueError(f"kind is {self.kind!r}: give 'rmsnorm' or 'layernorm'")

    def __call__(self, d_head: int) -> nn.Module:
        return RMSNorm(d_head, self.eps) if self.kind == "rmsnorm" else LayerNorm(d_head, self.eps, bias=False)


@dataclass(frozen=True)
class WatchedLoss:
    """A ``loss`` slot that notes log Z and the largest logit of its last call; ``loss`` does the work.

    ``seen`` holds the mean of log Z and the largest absolute logit, as the loss sees them, over all n tokens.
    """

    loss: Callable[[Tensor, Tensor, Tensor], Tensor] = cross_entropy

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", {})

    def __call__(self, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            logits = _logits(self.loss, hidden, weight)
            self.seen.update(log_z=log_z(logits).mean(), output_logit=logits.abs().amax())
        return self.loss(hidden, weight, targets)


def largest_logit(Q: Tensor, K: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Float[Tensor, ""]:
    """The largest Q K^T / sqrt(d) that may be attended to, without gradient; ``causal`` for the last q of k tokens."""
    with torch.no_grad():
        logits = (Q @ K.mT / math.sqrt(Q.shape[-1])).float()
        if causal:
            q, k = logits.shape[-2:]
            logits = logits.masked_fill(~torch.ones(q, k, dtype=torch.bool, device=Q.device).tril(k - q), -torch.inf)
        return (logits if mask is None else logits.masked_fill(~mask, -torch.inf)).amax()


@dataclass(frozen=True)
class Watched(Attend):
    """An ``attend`` slot that notes the largest logit of every call, before any cap; ``attend`` does the work.

    ``seen`` holds those of the last calls, one a layer, in order. It is no field: watching changes no configuration.
    """

    attend: Callable[..., Tensor] = scaled_dot_product_attention

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", deque(maxlen=1024))

    @property
    def masks_causally(self) -> bool:
        return masks_causally(self.attend)

    def __call__(self, Q: Tensor, K: Tensor, V: Tensor, mask: Tensor | None = None) -> Tensor:
        self.seen.append(largest_logit(Q, K, mask, causal=self.masks_causally))
        return self.attend(Q, K, V, mask)


def watch(config: TransformerConfig) -> TransformerConfig:
    """The configuration with `Watched` around its attention and `WatchedLoss` around its loss, for `monitor` to read.

    ValueError where a position scheme (alibi, t5, …) has taken the place of ``attend``.
    """
    named = {"plain": scaled_dot_product_attention, "sdpa": sdpa}
    attend = named[config.attend] if isinstance(config.attend, str) else config.attend
    return config.replace(attend=Watched(attend), loss=WatchedLoss(_loss_of(config)))


def monitor(step: int, model: Transformer) -> dict[str, float]:
    """What a watched model saw in its last forward pass: an observer for `training.train`.

    ``attention_logit`` is the largest of all layers, ``attention_logit_0``, … those of each; ``log_z`` the mean of
    log Z, ``output_logit`` the largest absolute logit. ValueError for a model that nothing watches.
    """
    attend, loss = model.config.attend, model.config.loss
    if not (isinstance(attend, Watched) and isinstance(loss, WatchedLoss) and attend.seen):
        raise ValueError("nothing watches this model, or it has not run yet: make it from watch(config)")
    layers = [x.item() for x in list(attend.seen)[-model.config.num_layers :]]
    found = {"attention_logit": max(layers)} | {f"attention_logit_{i}": x for i, x in enumerate(layers)}
    return found | {name: x.item() for name, x in loss.seen.items()}


def capped_cross_entropy(
    model: Transformer, inputs: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"]
) -> Float[Tensor, ""]:
    """Cross entropy of the logits as the model's loss slot makes them, without z-loss: a score for `training.train`.

    For a model without a soft cap it is the plain cross entropy.
    """
    logits = _logits(_loss_of(model.config), model.hidden(inputs).flatten(0, 1), model.output.weight)
    return penalised_cross_entropy(logits, targets.flatten())


def _loss_of(config: TransformerConfig) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """What is in the loss slot, without a watch; in an empty one the cross entropy, of capped logits with ``output_cap``."""
    if config.loss is None:
        return cross_entropy if config.output_cap is None else SoftCappedLoss(config.output_cap)
    return config.loss.loss if isinstance(config.loss, WatchedLoss) else config.loss


def _logits(
    loss: Callable[[Tensor, Tensor, Tensor], Tensor], hidden: Tensor, weight: Tensor
) -> Float[Tensor, "n vocab"]:
    """What the softmax of a loss slot is given."""
    return (loss if isinstance(loss, _OutputLoss) else ZLoss(0.0)).logits(hidden, weight)


class SpikeDetector:
    """Tells of one number a step, a loss or a gradient norm, whether it jumped.

    A spike lies more than ``threshold`` robust standard deviations (1.4826 times the median distance from the median)
    above the median of the ``window`` numbers before it, or is not finite. Single spikes do not move a median, and a
    level that lasts does. The first ``least`` numbers are never spikes.
    """

    def __init__(self, window: int = 50, threshold: float = 8.0, least: int = 10) -> None:
        if not 2 <= least <= window or threshold <= 0:
            raise ValueError(f"2 <= least {least} <= window {window} and threshold {threshold} > 0 must hold")
        self.threshold, self.least = threshold, least
        self.recent: deque[float] = deque(maxlen=window)

    def update(self, value: float) -> bool:
        """Whether this number is a spike, judged by those before it."""
        if not math.isfinite(value):
            return True  # and no level that anything could be compared with
        middle = median(self.recent or [value])
        spread = 1.4826 * median([abs(x - middle) for x in self.recent] or [0.0])
        limit = middle + self.threshold * max(spread, 5e-3 * abs(middle))  # a flat line has no spread
        spike = len(self.recent) >= self.least and value > limit
        self.recent.append(value)
        return spike


def spikes(values: Iterable[float], window: int = 50, threshold: float = 8.0, least: int = 10) -> list[int]:
    """Where a series of numbers jumps, by `SpikeDetector`: indices from 0.

    >>> spikes([3.0, 3.1] * 10 + [9.0] + [3.0, 3.1] * 5)
    [20]
    """
    detector = SpikeDetector(window, threshold, least)
    return [i for i, value in enumerate(values) if detector.update(value)]
