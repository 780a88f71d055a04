# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: stability, minutes: 1, prerequisites: [04_hyperparameters], device: CPU}
# ---

# %% [markdown]
# # 05 · Stability (稳定性)
#
# {badge} · prerequisites: 04, a2 (attention), a3 (RoPE) · device: CPU
#
# A large run that fails after a week cannot be repeated on a laptop. The mechanisms can: some quantities grow without
# bound, a softmax saturates, one step is too long. This lecture shows where training becomes unstable, builds the usual
# cures in a few lines each, and measures every one of them on small models that are put under stress.
#
# ## Questions
#
# 1. Why can logits drift without the loss showing it, and why does low precision care?
# 2. What does a saturated softmax do to its gradients?
# 3. Does log Z drift in training, and does z-loss stop it?
# 4. Which cure helps attention at high learning rates?
# 5. Where do the norms have to stand when the learning rate is high?
# 6. What does one bad batch cost, and how much of that does clipping save?
# 7. Which alarm finds a bad batch, and which one cries wolf?
#
# The answers stand at the end, each with its numbers. Write your guess in place of `None` before you run a cell below a
# **Predict** box. Four exercises ask for a few lines each.

# %%
from itertools import pairwise

from IPython.display import display

from cs336lite.course import check, finished, hint, whose
from cs336lite.course.baselines import baselines
from cs336lite.course.claims import claim, claims
from cs336lite.course.compare import comparisons, mean_interval, paired, rerun
from cs336lite.course.diagram import Diagram
from cs336lite.course.exercise import solution
from cs336lite.course.measure import reveal
from cs336lite.course.paired_plot import difference_figure
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.course.results import source

# without these nothing is trained here: cells show recorded runs and what our own run has shown
READY = whose("attention", "rope", lecture="05_stability")
YOURS = "this runs on your attention and your RoPE: do check('a2_attention') and check('a3_rope') pass?"

# %% folded=true
#| export
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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cs336lite.attention import scaled_dot_product_attention
from cs336lite.course.tuning import Crossed
from cs336lite.layers import LayerNorm, RMSNorm
from cs336lite.model import Transformer, TransformerConfig, cross_entropy, sdpa
from cs336lite.positions import attend_with_scores
from cs336lite.slots import Attend, masks_causally
from cs336lite.trials import held_out_loss, texts

# %% folded=true
d = Diagram(88, 7)
boxes = [
    d.box(x, 2.2, name, color=color)
    for x, name, color in (
        (1, "embedding", "grey"), (17, "queries, keys", "grey"), (37, "softmax", "vermillion"),
        (51, "feed-forward", "grey"), (69, "softmax", "vermillion"),
    )
]  # fmt: skip
for one, other in pairwise(boxes):
    d.arrow(one.right, other.left)
for box, what, cure in ((boxes[2], "over the keys: saturates", "QK-norm, soft cap"), (boxes[4], "over the vocabulary: log Z drifts", "z-loss")):  # fmt: skip
    d.text(box.top[0], 1.2, what, align="middle")
    d.text(box.bottom[0], 4.4, cure, align="middle")
d.text(1, 6, "the optimizer: one bad batch moves all weights. Cures: clipping, alarms", align="start")
d.show()

# %% [markdown]
# A Transformer has two kinds of softmax, and both have a weak point. The third weak point is the step itself. The cures stand
# below the boxes; each gets a section.
#
# ## 1 · The loss does not see log Z
#
# **What keeps logits at a sensible size?** Softmax over the vocabulary is
#
# $$p_i = \frac{e^{x_i}}{Z},\qquad Z = \sum_j e^{x_j},\qquad \text{loss} = \log Z - x_\text{target}$$
#
# By hand: logits (2, 1, 0) give $Z = 7.39 + 2.72 + 1 = 11.1$ and probabilities (0.67, 0.24, 0.09). Add a constant to all three:
# $Z$ grows, the probabilities and the cross entropy (交叉熵) stay. The gradient $p - y$ is (−0.33, 0.24, 0.09) when the first is the
# target. It sums to zero, so nothing pushes all logits up or down together. Low-precision formats do notice: bfloat16
# (lecture 02) has 8 bits of precision, so numbers near 1,000 lie 4 apart.
#
# **Predict.** Add 100 to all logits, round them to bfloat16, and take the loss of 2,000 tokens, which is nearly ten nats. By how
# many nats is the loss of a typical token wrong?

# %%
guess = None  # nats

torch.set_num_threads(1)
rng = torch.Generator().manual_seed(0)
logits, targets = 3 * torch.randn(2_000, 256, generator=rng), torch.randint(256, (2_000,), generator=rng)
logits.requires_grad_()
F.cross_entropy(logits, targets, reduction="sum").backward()
force = logits.grad.sum(dim=-1).abs().max().item()  # of a token, over the whole vocabulary

off = {}
for added in (0, 10, 100, 1_000):
    shifted = logits.detach() + added
    exact = F.cross_entropy(shifted, targets, reduction="none")
    low = F.cross_entropy(shifted.bfloat16().float(), targets, reduction="none")
    off[added] = (low - exact).square().mean().sqrt().item()
    print(f"added {added:>5}: loss {exact.mean():.3f} in float32, typical error in bfloat16 {off[added]:.3f} nats")

# %% folded=true
# run this cell to compare your guess
because = {"too small": "numbers between 64 and 128 are half a unit apart in bfloat16"}
reveal("typical error", off[100], guess, because=because, within=1.5, shown=f"{off[100]:.2f} nats")
claim(
    1,
    "A token's gradient sums to {force:.0e} over the vocabulary, so cross entropy exerts no force on log Z. With 100 added to all logits, bfloat16 makes the loss of a token wrong by {off:.2f} nats.",
    lambda force, off: force < 1e-5 and off > 0.1,
    force=force,
    off=off[100],
)

# %% [markdown]
# The loss in float32 does not change; the rounded one is useless at 1,000. So a drift costs nothing at first and much later.
#
# **z-loss** is the cure: PaLM (arXiv 2204.02311, section 5) adds a spring,
#
# $$L = \log Z - x_\text{target} + \zeta\,(\log Z)^2 \qquad\Rightarrow\qquad \frac{\partial L}{\partial x} = p - y + 2\zeta \log Z\; p$$
#
# The gradient now sums to $2\zeta\log Z$: a force back to $\log Z = 0$, where logits are log-probabilities. **Your turn**: write it. `torch.logsumexp`
# computes log Z without overflow.


# %% exercise="z_loss" minutes=8 difficulty=1
def z_loss(logits: torch.Tensor, targets: torch.Tensor, zeta: float) -> torch.Tensor:
    """Mean over n tokens of cross entropy + zeta * (log Z)^2; logits (n, vocab), targets (n,)."""
    ### BEGIN SOLUTION
    log_z = torch.logsumexp(logits, dim=-1)
    target = logits.gather(-1, targets[:, None])[:, 0]
    return (log_z - target + zeta * log_z**2).mean()
    ### END SOLUTION


# %%
x = torch.tensor([[8.0, 7.0, 6.0]], requires_grad=True)
forces = {}
for name, zeta in (("cross entropy", 0.0), ("with z-loss, zeta 0.05", 0.05)):
    (forces[name],) = torch.autograd.grad(z_loss(x, torch.tensor([0]), zeta), x)
    print(f"{name:<24}{[round(g, 3) for g in forces[name][0].tolist()]}, sum {forces[name].sum().item():+.3f}")

# %% folded=true
fig, ax = axes(xlabel="entry of the vocabulary (logit)", ylabel="force: minus the gradient", size=(6.4, 3))
for number, ((name, gradient), color) in enumerate(zip(forces.items(), (COLORS["blue"], COLORS["vermillion"]))):
    heights = [*-gradient[0].numpy(), -gradient.sum().item()]
    ax.bar(np.arange(4) + 0.36 * (number - 0.5), heights, 0.34, color=color, label=name)
ax.axhline(0, color=COLORS["black"], linewidth=0.8)
ax.set(title="z-loss pushes the sum of the logits down")
ax.set_xticks(range(4), labels=["target (8)", "second (7)", "third (6)", "sum of all"])
finish(fig)

# %% [markdown]
# Cross entropy pushes the target up and the others down, by equal amounts. z-loss pushes down in proportion to $p$, so the likeliest
# entry gets most of it. Here it even outweighs the cross entropy, since our $\zeta$ is 500 times PaLM's $10^{-4}$. T5's code had this term before PaLM;
# ST-MoE (2202.08906) puts it on a *router*, which is lecture 06.
#
# **Try it.** Set the logits to (0.1, −0.9, −1.9), so that log Z is about 0.5. What is left of the force?
#
# The package has the same with targets that do not count (−100), and slots for lecture 03's model.


# %%
#| export
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


# %% folded=true
#| export
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


# %%
#| export
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


# %% [markdown]
# ## 2 · A saturated softmax
#
# **Why are large attention logits bad?** The logits are $q \cdot k / \sqrt{d}$, and both factors are learned: twice the weights, four
# times the logits. A softmax of large logits is nearly one-hot (*saturated*, 饱和): (1, 0) gives (0.731, 0.269), four times as much gives
# (0.982, 0.018). Its derivative is $p_i(\delta_{ij} - p_j)$: 0.197 for the first and 0.018 for the second. A head that is sure learns slowly to look elsewhere.

# %% folded=true
q, k, v, w = torch.randn(4, 64, 64, generator=rng)
fig, (left, right) = axes(1, 2, xlabel="key", ylabel="query", size=(6.8, 3.2))
for ax, factor in ((left, 1), (right, 4)):
    scores = (factor * q[:16]) @ (factor * k[:16]).T / 8
    weights = scores.masked_fill(~torch.ones(16, 16).tril().bool(), -torch.inf).softmax(dim=-1)
    image = ax.imshow(weights, vmin=0, vmax=1, cmap="cividis")
    ax.set_title(f"weights of q and k × {factor}")
fig.colorbar(image, ax=[left, right], label="attention weight")
finish(fig)

# %% [markdown]
# Left, a query shares its attention among the keys that it may see. Right, the same head with weights four times larger: most rows have one bright
# key.
#
# **Predict.** Multiply the weights of queries and keys by 8. What is left of the gradient of the logits for the median query? And which factor
# does the gradient of the queries themselves change by, over all of them?

# %%
guess_median = guess_queries = None  # both as a share of what it was

factors = (0.25, 0.5, 1, 2, 4, 8)
rows, whole, queries = {}, {}, {}
for factor in factors:
    weight = torch.eye(64).mul(factor).requires_grad_()  # a projection: query = weight @ input
    Q = q @ weight
    Q.retain_grad()
    scores = Q @ (factor * k).T / 8
    scores.retain_grad()
    (scores.softmax(dim=-1) @ v * w).sum().backward()
    per_query = scores.grad.norm(dim=-1)
    rows[factor], whole[factor] = per_query.median().item(), per_query.square().mean().sqrt().item()
    queries[factor] = Q.grad.norm().item()
shares = {name: found[8] / found[1] for name, found in (("median", rows), ("rms", whole), ("queries", queries))}

# %% folded=true
# run this cell to compare your guess
reveal("median query", shares["median"], guess_median, within=10, because={"too large": "nearly all queries are one-hot by now"}, shown=f"{shares['median']:.0e}")  # fmt: skip
reveal("gradient of the queries", shares["queries"], guess_queries, within=1.5, because={"too small": "few queries are between two keys, and there the keys, 8 times larger, multiply the gradient"}, shown=f"{shares['queries']:.1f} times")  # fmt: skip
claim(
    2,
    "With weights 8 times larger the typical query keeps {median:.0e} of its logits' gradient, while the root mean square over queries keeps {rms:.2f} and the gradient of the queries grows {queries:.1f} times: most queries stop learning, a few get violent gradients.",
    lambda median, rms, queries: median < 1e-3 and rms > 0.1 and queries > 1.5,
    **shares,
)

# %% folded=true
fig, ax = axes(xlabel="factor on the weights of q and k", ylabel="gradient, relative to factor 1", size=(6.4, 3.4))
for (name, found), color, mark in zip((("logits, median query", rows), ("logits, root mean square", whole), ("queries, norm of all", queries)), COLORS.values(), "os^"):  # fmt: skip
    ax.plot(factors, [max(found[f] / found[1], 1e-8) for f in factors], f"{mark}-", color=color, label=name)
ax.set_xscale("log", base=2)
ax.set(yscale="log", title="One statistic says dead, another says violent (64 queries)")
finish(fig)

# %% [markdown]
# The statistic decides what one sees. By the median the head is dead. By the root mean square it is alive, because a query that lies between two
# keys still gets a gradient, and large keys make it larger. That is what an unstable head looks like: silence, then a jolt. Up to factor 2 all three grow:
# a little sharpness helps.
#
# **Two cures.** *QK-norm* normalises queries and keys per head, with learned gains $g$ (Henry et al. 2010.04245; ViT-22B, 2302.05442):
#
# $$\frac{\text{norm}(q)\cdot\text{norm}(k)}{\sqrt{d}}\ \le\ \sqrt{d}\;\max|g_q|\;\max|g_k|$$
#
# A *soft cap* (Gemma 2, 2408.00118) bends the logits: $x \mapsto c \tanh(x / c)$, nearly $x$ where $x$ is small, never beyond $\pm c$. **Your turn.**


# %% exercise="capped" minutes=5 difficulty=1
def capped(x: torch.Tensor, cap: float) -> torch.Tensor:
    """x of any shape, bent so that no number lies beyond -cap and cap: cap * tanh(x / cap)."""
    ### BEGIN SOLUTION
    return cap * torch.tanh(x / cap)
    ### END SOLUTION


# %%
x = torch.tensor([1.0, 10, 50, 100, 300], requires_grad=True)
(slope,) = torch.autograd.grad(capped(x, 50.0).sum(), x)
for value, bent, s in zip(x.tolist(), capped(x, 50.0).tolist(), slope.tolist()):
    print(f"{value:>5.0f} becomes {bent:5.1f}, slope {s:.5f}")

# %% [markdown]
# The price stands in the last column: beyond the cap the slope vanishes, so a logit that has run away gets no gradient to come back. QK-norm has
# no such place.


# %%
#| export
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


# %%
#| export
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


# %% [markdown]
# The rest of the module watches a run. `watch(config)` wraps the attention and the loss of a model, `monitor` reads the largest attention logit
# and log Z. Watching computes the logits a second time, so watch now and then.


# %% folded=true
#| export
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


# %% folded=true
#| export
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


# %% folded=true
#| export
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


# %% folded=true
#| export
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


# %% [markdown]
# ## 3 · Small models under stress
#
# Large models fail at ordinary learning rates; small ones do so at high rates (Wortsman et al., 2309.14322). So the rate is our stress. The model is lecture
# 03's with two blocks, the text is the default corpus. A run has 1,000 steps, and ends far below the loss of a *bigram table* (二元模型), which knows
# for every byte only how often each other follows it. Above that line we conclude nothing about models.
#
# All arms of a comparison have the same seeds and batches and are compared seed by seed, as in lecture 03b.


# %% folded=true
#| export stress
"""Small Transformers trained under stress, for lecture 05: bad batches, high learning rates, norms left out.

Built in notebooks/05_stability.ipynb.
"""

MODEL = {
    "vocab_size": 256, "context_length": 64, "d_model": 48, "num_layers": 2, "num_heads": 2, "d_ff": 128,
    "init_std": 0.144, "attend": "sdpa",
}  # fmt: skip
"""Lecture 03's base with two blocks: 80,112 parameters."""

TRAINING = {
    "steps": 1_000, "batch": 8, "seq": 64, "warmup": 50, "optimizer": "adamw", "weight_decay": 0.1, "clip": 1.0,
    "bad": [],
}  # fmt: skip
"""Steps of 512 bytes; the rate rises for ``warmup`` steps, then falls linearly to 0. At the steps ``bad`` the batch is noise."""

BAD, AFTER = (300, 450, 600), 50
"""Steps (from 0) whose batch may be random bytes, and how many steps after each are looked at."""

SLOTS = {"QKNorm": QKNorm(), "cap": SoftCappedAttention(50.0), "no norm": nn.Identity}
"""What a recorded configuration, which is plain JSON, names."""


# %% folded=true
#| export stress
def config_of(config: Mapping[str, Any]) -> TransformerConfig:
    """The configuration of a run, whose slots have the names of `SLOTS`, and whose ``loss`` is the coefficient of z-loss."""
    named = {slot: SLOTS[config[slot]] for slot in ("qk_norm", "attend", "norm") if config.get(slot) in SLOTS}
    return TransformerConfig(**{**config, **named, "loss": ZLoss(config["loss"]) if "loss" in config else None})


def optimizer_of(model: nn.Module, training: Mapping[str, Any]) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum 0.9."""
    if training["optimizer"] == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=0.9)
    return torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=training["weight_decay"], fused=True)


def seen_by(watched: Transformer, model: Transformer, batch: Tensor) -> dict[str, float]:
    """What `monitor` reads when a watched copy of the model reads a batch, (n, seq + 1)."""
    watched.load_state_dict(model.state_dict())
    with torch.no_grad():
        watched.loss(batch[:, :-1], batch[:, 1:])
    return monitor(0, watched)


# %%
#| export stress
def train_stressed(run: Mapping[str, Any]) -> dict[str, Any]:
    """Train ``run``, {arm, lr, seed, config, training}, and tell how it went.

    ``final`` is the held-out loss in nats a byte, None where a loss or gradient was not finite; ``loss`` and ``norm`` have the training
    loss and the gradient norm before clipping of every step, and ``watched`` a row every 50 steps: the step, the largest
    attention logit, log Z and the largest output logit on held-out bytes.
    """
    config, t, seq = config_of(run["config"]), run["training"], run["training"]["seq"]
    draw, (learned, held) = torch.Generator().manual_seed(run["seed"]), texts()
    model, watched = Transformer(config, draw), Transformer(watch(config))
    optimizer, told = optimizer_of(model, t), {"final": None, "loss": [], "norm": [], "watched": []}
    looked_at = held[: 8 * (seq + 1)].view(8, seq + 1)
    for step in range(t["steps"]):
        optimizer.param_groups[0]["lr"] = run["lr"] * min((step + 1) / t["warmup"], 1 - step / t["steps"])
        batch = learned[torch.randint(len(learned) - seq, (t["batch"], 1), generator=draw) + torch.arange(seq + 1)]
        if step in t["bad"]:
            noise = torch.Generator().manual_seed(run["seed"] + step)  # of its own: later batches stay the same
            batch = torch.randint(256, batch.shape, generator=noise)
        loss = model.loss(batch[:, :-1], batch[:, 1:])
        if not loss.isfinite():
            return told
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), t["clip"] or math.inf)
        if not norm.isfinite():
            return told
        optimizer.step()
        told["loss"].append(round(loss.item(), 3))
        told["norm"].append(float(f"{norm.item():.3g}"))
        if step % 50 == 0:
            seen = seen_by(watched, model, looked_at)
            row = [seen[name] for name in ("attention_logit", "log_z", "output_logit")]
            told["watched"].append([step] + [round(x, 2) if math.isfinite(x) else None for x in row])
    final = held_out_loss(model.eval(), seq)
    return {**told, "final": round(final, 4) if math.isfinite(final) else None}


# %% folded=true
#| export stress
def followed(run: Mapping[str, Any]) -> dict[str, Any]:
    """`train_stressed`, and ``after``: the training loss of the `AFTER` steps behind each of `BAD`.

    ``series`` has loss and gradient norm of every step, for AdamW and the first four seeds.
    """
    told = train_stressed(run)
    told["after"] = [told["loss"][step + 1 : step + 1 + AFTER] for step in BAD]
    kept = run["training"]["optimizer"] == "adamw" and run["seed"] <= 4
    return {**told, "series": {"loss": told["loss"], "norm": told["norm"]} if kept else None}


def outlined(run: Mapping[str, Any]) -> dict[str, Any]:
    """`train_stressed`, and ``curve``: the mean training loss of every 50 steps."""
    told = train_stressed(run)
    return {**told, "curve": [round(sum(part) / len(part), 3) for part in _parts(told["loss"], 50)]}


def _parts(values: list[float], size: int) -> list[list[float]]:
    return [values[i : i + size] for i in range(0, len(values), size)]


def run_of(arm: str, changes: Mapping[str, Any], lr: float, seed: int) -> dict[str, Any]:
    """The arguments of one training: what does not belong to the configuration belongs to the training."""
    own = {name: value for name, value in changes.items() if name in TRAINING}
    config = MODEL | {name: value for name, value in changes.items() if name not in TRAINING}
    return {"arm": arm, "lr": lr, "seed": seed, "config": config, "training": {**TRAINING, **own}}


SETTING = {"model": MODEL, "training": TRAINING}


# %%
#| export stress
RATES = (1e-2, 5e-2, 0.25)
OUTLINE = ("arm", "lr", "seed", "final", "curve", "watched")

ATTENTION = Crossed(
    "05_attention", {"plain": {}, "QK-norm": {"qk_norm": "QKNorm"}, "soft cap 50": {"attend": "cap"}}, run_of, outlined,
    grid=RATES, columns=OUTLINE, setting=SETTING,
)  # fmt: skip
"""Cures for large attention logits at high learning rates."""


# %% folded=true
#| export stress
Z_LOSS = Crossed(
    "05_zloss",
    {
        "decay": {}, "no decay": {"weight_decay": 0.0}, "no decay, z-loss 1e-4": {"weight_decay": 0.0, "loss": 1e-4},
        "no decay, z-loss 1e-2": {"weight_decay": 0.0, "loss": 1e-2},
    },
    run_of, outlined, grid=(1e-2,), columns=OUTLINE, setting=SETTING,
)  # fmt: skip
"""log Z with z-loss and without, with weight decay and without."""


# %% folded=true
#| export stress
NORMS = Crossed(
    "05_norms",
    {
        "pre-norm": {}, "post-norm": {"norm_placement": "post"}, "double norm": {"norm_placement": "double"},
        "no norm": {"norm": "no norm"},
    },
    run_of, outlined, grid=(1e-2, 0.1), columns=OUTLINE, setting=SETTING,
)  # fmt: skip
"""Where the norms stand, at high learning rates."""


# %%
#| export stress
BATCH_ARMS = {
    f"{name}, {'clipped' if clip else 'not clipped'}, {'bad batches' if bad else 'clean'}": {
        "optimizer": optimizer, "clip": clip, "bad": bad,
    }
    for name, optimizer in (("AdamW", "adamw"), ("SGD", "sgd"))
    for clip in (None, 1.0)
    for bad in ([], list(BAD))
}  # fmt: skip

BAD_BATCH = Crossed(
    "05_bad_batch", BATCH_ARMS, run_of, followed,
    grid={arm: (1e-2,) if arm.startswith("AdamW") else (0.1,) for arm in BATCH_ARMS}, seeds=(1, 2, 3, 4, 5),
    columns=("arm", "lr", "seed", "final", "after", "series"), setting=SETTING,
)  # fmt: skip
"""Three batches of noise, with clipping and without, for two optimizers, and the same runs with clean batches."""


# %% tags=["timing"]
tables = baselines(*(text.numpy() for text in texts()), 256)
runs = {name: sweep.recorded()["rows"] for name, sweep in (("z", Z_LOSS), ("attention", ATTENTION), ("norms", NORMS))}
print(source("05_attention.json"))
if READY.or_show("one run"):
    ours = train_stressed(run_of("plain", {}, 1e-2, 6))  # a seed of its own
    others = [row["final"] for row in runs["attention"] if row["arm"] == "plain" and row["lr"] == 1e-2]
    assert rerun(others).holds(ours["final"]), YOURS
    fig, ax = axes(xlabel="step", ylabel="training loss (nats a byte)", size=(6.4, 3.2))
    ax.plot(ours["loss"], color=COLORS["blue"], linewidth=0.7, label="each step")
    ax.axhline(tables.unigram, color="#888888", linestyle="--", label="unigram table")
    ax.axhline(tables.bigram, color=COLORS["black"], linestyle=":", label="bigram table")
    ax.set(title=f"One run, made now: held out it ends at {ours['final']:.2f} nats")
    display(finish(fig))

# %% [markdown]
# It leaves the unigram's plateau in a few dozen steps and the bigram's soon after. The recorded runs below are of the same kind.
#
# ### Does log Z drift?
#
# At the start all 256 bytes are about equally likely, and log Z is near $\log 256 = 5.5$. PaLM's $\zeta$ is $10^{-4}$; we also take one a hundred times stronger.
# Weight decay pulls weights to zero and so holds logits back; three of the arms go without it.
#
# **Predict.** Without decay, what is log Z after 950 steps without z-loss? And with the strong one?

# %%
guess_free = guess_strong = None


def watched(rows: list, arm: str, lr: float, column: int) -> np.ndarray:
    """(seeds, times): what the runs of an arm showed every 50 steps; 1 attention logit, 2 log Z, 3 output logit."""
    return np.array([[w[column] for w in row["watched"]] for row in rows if (row["arm"], row["lr"]) == (arm, lr)])


def finals(rows: list, lr: float) -> dict:
    """{arm: {seed: held-out loss}} at one learning rate."""
    found = {}
    for row in rows:
        if row["lr"] == lr:
            found.setdefault(row["arm"], {})[row["seed"]] = row["final"]
    return found


log_zs = {arm: watched(runs["z"], arm, 1e-2, 2) for arm in Z_LOSS.arms}
end = {arm: mean_interval(found[:, -1]) for arm, found in log_zs.items()}
climb = mean_interval(log_zs["no decay"][:, -1] - log_zs["no decay"][:, 8])
less = paired(dict(enumerate(log_zs["no decay, z-loss 1e-4"][:, -1])), dict(enumerate(log_zs["no decay"][:, -1])))
strong = paired(*(finals(runs["z"], 1e-2)[arm] for arm in ("no decay, z-loss 1e-2", "no decay")))

# %% folded=true
# run this cell to compare your guess
reveal("log Z without", end["no decay"].mean, guess_free, because={"too small": "nothing pulls it back to its start"}, shown=f"{end['no decay'].mean:.2f}")  # fmt: skip
reveal("log Z with the strong one", end["no decay, z-loss 1e-2"].mean, guess_strong, margin=0.5, shown=f"{end['no decay, z-loss 1e-2'].mean:.2f}")  # fmt: skip
fig, ax = axes(xlabel="step", ylabel="log Z, mean over tokens", size=(6.8, 3.6))
for (arm, found), style, color in zip(log_zs.items(), ("-", "--", "-.", ":"), COLORS.values()):
    spread = [mean_interval(column) for column in found.T]
    steps = 50 * np.arange(found.shape[1])
    ax.plot(steps, [s.mean for s in spread], style, color=color, linewidth=2, label=arm)
    ax.fill_between(steps, [s.low for s in spread], [s.high for s in spread], color=color, alpha=0.15, linewidth=0)
ax.set(title="log Z: mean and 95 % interval, n = 5 seeds", ylim=(-0.5, 10))
ax.legend(fontsize=9, loc="center right", bbox_to_anchor=(1, 0.4))
finish(fig)

# %% folded=true
claim(
    3,
    "Without decay and z-loss log Z stands at {level:.2f} after 950 steps and climbed by {climb:.2f} ± {half:.2f} in the last 550. PaLM's z-loss of 1e-4 takes {less:.2f} off; 1e-2 holds it at {held:.2f}, and the held-out loss changes by {cost:+.3f} nats ({low:+.3f} to {high:+.3f}).",
    lambda level, climb, half, less, held, cost, low, high: (
        climb - half > 0.3 and less > 0.1 and held < 1 and high < 0.02
    ),
    level=end["no decay"].mean,
    climb=climb.mean,
    half=climb.half,
    less=-less.mean,
    held=end["no decay, z-loss 1e-2"].mean,
    cost=strong.mean,
    low=strong.interval.low,
    high=strong.interval.high,
)

# %% [markdown]
# Here log Z really drifts: it rises quickly at first and then goes on rising, though nothing is gained by it. With weight decay it rises less. PaLM's
# coefficient bends the curve a little, and is made for runs hundreds of times longer; the strong one holds log Z near zero, and the held-out loss is no worse for it, rather a little better. Nothing breaks without z-loss
# in 1,000 steps of float32. z-loss does not make logits small: to bring log Z down, all logits but a few become very negative.
#
# ## 4 · Attention at high learning rates
#
# **Predict.** At a rate of 0.25, what is the largest attention logit of a plain run, in the median of the seeds? And of one with QK-norm?

# %%
guess_plain = guess_normed = None

largest = {
    (arm, lr): np.median(watched(runs["attention"], arm, lr, 1).max(axis=1)) for arm in ATTENTION.arms for lr in RATES
}
against_plain = [
    one
    for lr in RATES
    for one in comparisons({f"{arm}, {lr:g}": found for arm, found in finals(runs["attention"], lr).items()}, [(f"{arm}, {lr:g}", f"plain, {lr:g}") for arm in ("QK-norm", "soft cap 50")])
]  # fmt: skip
ahead = sum(difference < 0 for one in against_plain if one.a.startswith("QK") for difference in one.by_seed.values())

# %% folded=true
# run this cell to compare your guess
reveal("plain", largest["plain", 0.25], guess_plain, within=2, because={"too small": "nothing bounds it: both queries and keys grow with the rate"}, shown=f"{largest['plain', 0.25]:,.0f}")  # fmt: skip
reveal("QK-norm", largest["QK-norm", 0.25], guess_normed, within=1.5, shown=f"{largest['QK-norm', 0.25]:.1f}")
fig, (left, right) = axes(1, 2, size=(8.6, 3.5))
for arm, style, color in zip(ATTENTION.arms, ("-", "--", "-."), COLORS.values()):
    steps = 50 * np.arange(20)
    left.plot(steps, np.median(watched(runs["attention"], arm, 0.25, 1), axis=0), style, color=color, label=arm)
    spread = [mean_interval(finals(runs["attention"], lr)[arm].values()) for lr in RATES]
    right.errorbar(RATES, [s.mean for s in spread], [s.half for s in spread], fmt="o" + style, color=color, capsize=3, markersize=4)  # fmt: skip
left.set(yscale="log", xlabel="step", ylabel="largest attention logit", title="Rate 0.25: median of 5 seeds")
right.axhline(tables.bigram, color=COLORS["black"], linestyle=":", linewidth=1)
right.text(1e-2, tables.bigram - 0.01, "bigram table", va="top")
right.set(xscale="log", xlabel="learning rate", ylabel="held-out loss (nats a byte)", title="Mean, 95 % interval, n = 5 seeds")  # fmt: skip
finish(fig)

# %% folded=true
difference_figure(against_plain, title="Against plain at the same rate and seed", quantity="held-out loss a byte")

# %% folded=true
by_name = {one.a: one for one in against_plain}
claim(
    4,
    "QK-norm is ahead of plain in {ahead} of {pairs} pairs of rate and seed: by {low_rate:.3f} nats at 0.01, {middle:.3f} at 0.05 and {high_rate:.2f} at 0.25, where the largest attention logit is {normed:.0f} instead of {plain:,.0f}.",
    lambda ahead, pairs, low_rate, middle, high_rate, normed, plain: (
        ahead > 0.8 * pairs and low_rate > 0 and middle > 0.02 and high_rate > 0.1 and plain > 20 * normed
    ),
    ahead=ahead,
    pairs=15,
    low_rate=-by_name["QK-norm, 0.01"].mean,
    middle=-by_name["QK-norm, 0.05"].mean,
    high_rate=-by_name["QK-norm, 0.25"].mean,
    normed=largest["QK-norm", 0.25],
    plain=largest["plain", 0.25],
)
claim(
    4,
    "The soft cap of 50 changes nothing at 0.01 that the runs show ({calm:+.3f} nats, the cap is never reached: the largest logit is {small:.0f}), and gains {wild:.2f} nats at 0.25.",
    lambda calm, small, wild: abs(calm) < 0.02 and small < 50 and wild > 0.04,
    calm=by_name["soft cap 50, 0.01"].mean,
    small=largest["soft cap 50", 0.01],
    wild=-by_name["soft cap 50, 0.25"].mean,
)

# %% [markdown]
# QK-norm helps at every rate here, also at the ordinary one, and most where the rate is high: it makes the loss depend less on the rate. The soft cap helps only where logits
# pass it, and by less. What softmax sees has a bound in both arms, so the bound alone does not explain the difference; one reason is the vanishing slope of section 2, and the logits under the cap
# do run away. Gemma 3 replaced Gemma 2's cap by QK-norm (2503.19786). All arms survive: no run has a loss that is not finite. But at 0.25 every model is bad; the rates are stress, not advice,
# and a factor of five between them does not find anybody's best one.
#
# ## 5 · Where the norms stand
#
# Pre-norm normalises what a part reads, post-norm (后置归一化) the sum, double norm what it reads and what it gives (lecture 03b). Xiong et al. (2002.04745) conclude that post-norm
# needs small rates or warmup. All arms here have 50 steps of warmup (预热), and one has no norm at all.
#
# **Predict.** A run is lost when it diverges or ends above the bigram table. At a rate of 0.1, how many of the five runs with pre-norm are lost? And with post-norm?

# %%
guess_pre = guess_post = None

norms = {lr: finals(runs["norms"], lr) for lr in (1e-2, 0.1)}
lost = {
    lr: {arm: sum(x is None or x > tables.bigram for x in found.values()) for arm, found in arms.items()}
    for lr, arms in norms.items()
}
diverged = sum(x is None for x in norms[0.1]["no norm"].values())
last = 50 * max(len(row["curve"]) for row in runs["norms"] if row["arm"] == "no norm" and row["final"] is None)
print(f"at 0.01: {lost[1e-2]}\nat 0.1:  {lost[0.1]}")

# %% folded=true
# run this cell to compare your guess
reveal("pre-norm", lost[0.1]["pre-norm"], guess_pre, within=1, because={"too large": "a part reads vectors of a fixed size, whatever the weights have become"})  # fmt: skip
reveal("post-norm", lost[0.1]["post-norm"], guess_post, within=1)
fig, ax = axes(xlabel="step", ylabel="training loss (nats a byte)", size=(6.8, 3.6))
for arm, style, color in zip(("pre-norm", "post-norm", "double norm"), ("-", "--", "-."), COLORS.values()):
    curves = [row["curve"] for row in runs["norms"] if row["arm"] == arm and row["lr"] == 0.1]
    for number, curve in enumerate(curves):
        ax.plot(25 + 50 * np.arange(len(curve)), curve, style, color=color, linewidth=1.2, label=None if number else arm)  # fmt: skip
ax.axhline(tables.bigram, color="#888888", linewidth=1)
ax.text(25, 4.1, f"no norm: {diverged} of 5 diverge, the last before step {last}")
ax.set(title="Learning rate 0.1, 5 seeds an arm; grey: bigram table", ylim=(1.5, 4.4))
ax.legend(fontsize=9, loc="lower left")
finish(fig)

# %% folded=true
claim(
    5,
    "At 0.01 none of the 20 runs is lost. At 0.1 pre-norm loses {pre} of 5, double norm {double}, post-norm {post} (it ends above the bigram table), and without norms {none} are lost, {diverged} of them by divergence.",
    lambda pre, double, post, none, diverged: (
        pre == double == 0 and post == none == 5 and diverged >= 3 and not sum(lost[1e-2].values())
    ),
    pre=lost[0.1]["pre-norm"],
    double=lost[0.1]["double norm"],
    post=lost[0.1]["post-norm"],
    none=lost[0.1]["no norm"],
    diverged=diverged,
)

# %% [markdown]
# At an ordinary rate two blocks need no norm at all; the norms are there for trouble. When the rate is ten times higher, a norm *before* each part saves the run, because it fixes the size of what the part
# reads whatever the weights have become. Post-norm does not diverge: its loss stays finite and useless ("stuck"), and only one seed begins to leave the unigram's level. Without norms the loss passes a thousand nats and the gradient overflows soon after the warmup. Deep models have the same trouble at ordinary rates. That post-norm is
# the worse model does not follow: Takase et al. (2206.00330) find it better in shallow models where it trains.
#
# ## 6 · One bad batch
#
# **What can one batch do?** Pascanu et al. (1211.5063) met gradients that explode at cliffs of the loss, and cut them to a length $c$:
#
# $$g \leftarrow g \cdot \min\!\left(1, \frac{c}{\lVert g\rVert}\right)$$
#
# By hand: two parameters with gradients (3, 0) and (4) have the common norm 5. With $c = 1$ they become (0.6, 0) and (0.8): one norm over all parameters, so the direction stays. **Your turn.**


# %% exercise="clip_all" minutes=8 difficulty=2
def clip_all(gradients: list[torch.Tensor], most: float) -> list[torch.Tensor]:
    """New gradients, shortened together to the norm ``most`` where their common norm is larger; else as they are."""
    ### BEGIN SOLUTION
    norm = sum((g**2).sum() for g in gradients).sqrt()
    return [g * (most / norm).clamp(max=1) for g in gradients]
    ### END SOLUTION


# %%
print(clip_all([torch.tensor([3.0, 0.0]), torch.tensor([4.0])], 1.0))

# %% [markdown]
# AdamW divides by the size of past gradients, so a constant factor on all gradients changes nothing. It matters when *one* gradient is unlike those before. Three of the 1,000 batches are now random bytes. Each
# run has a twin with the same seed and clean batches, so the difference is what the bad batches did. "Clipped" is clipping at 1; the gradient norm of an ordinary step is about 0.6 for AdamW, and of a bad one about 3.
#
# **Predict.** In the 20 steps after a bad batch, by how many nats is AdamW's loss too high without clipping? And with clipping?

# %%
guess_free = guess_clipped = None

batches = BAD_BATCH.recorded()["rows"]
after = {(row["arm"], row["seed"]): np.array(row["after"]) for row in batches}
excess = {
    f"{name}, {clip}": {s: after[f"{name}, {clip}, bad batches", s] - after[f"{name}, {clip}, clean", s] for s in BAD_BATCH.seeds}
    for name in ("AdamW", "SGD")
    for clip in ("not clipped", "clipped")
}  # fmt: skip
harm = {arm: {seed: float(x[:, :20].mean()) for seed, x in found.items()} for arm, found in excess.items()}
saved = comparisons(harm, [(f"{name}, not clipped", f"{name}, clipped") for name in ("AdamW", "SGD")])
means = {arm: mean_interval(found.values()) for arm, found in harm.items()}

# %% folded=true
# run this cell to compare your guess
reveal("without", means["AdamW, not clipped"].mean, guess_free, within=1.5, because={"too large": "AdamW's step has a bounded length, whatever the gradient"}, shown=f"{means['AdamW, not clipped'].mean:.3f} nats")  # fmt: skip
reveal("with", means["AdamW, clipped"].mean, guess_clipped, within=1.5, shown=f"{means['AdamW, clipped'].mean:.3f} nats")  # fmt: skip
fig, ax = axes(xlabel="steps after the bad batch", ylabel="loss above the clean twin (nats)", size=(6.8, 3.5))
for (arm, found), style, color in zip(excess.items(), ("-", "--", "-.", ":"), COLORS.values()):
    mean = np.mean([x.mean(axis=0) for x in found.values()], axis=0).reshape(10, 5).mean(axis=1)
    ax.plot(3 + 5 * np.arange(10), mean, style, marker="o", markersize=3, color=color, label=arm)
ax.axhline(0, color=COLORS["black"], linewidth=0.8)
ax.set(title="Mean of 3 bad batches and 5 seeds, in bins of 5 steps", ylim=(-0.005, None))
finish(fig)

# %% folded=true
difference_figure(saved, title="What clipping saves, twin against twin", quantity="excess training loss of 20 steps")

# %% folded=true
claim(
    6,
    "In the 20 steps after a bad batch AdamW's loss is {free:.3f} ± {free_half:.3f} nats too high without clipping and {clipped:.3f} ± {half:.3f} with it; paired, clipping saves {saved:.3f} ({low:.3f} to {high:.3f}), and {sgd:.3f} for SGD.",
    lambda free, free_half, clipped, half, saved, low, high, sgd: (
        free - free_half > 0
        and clipped - half > 0
        and low > 0.01
        and high > saved
        and sgd > 0.01
        and clipped < 0.6 * free
    ),
    free=means["AdamW, not clipped"].mean,
    free_half=means["AdamW, not clipped"].half,
    clipped=means["AdamW, clipped"].mean,
    half=means["AdamW, clipped"].half,
    saved=saved[0].mean,
    low=saved[0].interval.low,
    high=saved[0].interval.high,
    sgd=saved[1].mean,
)

# %% [markdown]
# Clipping takes more than half of the harm away, for both optimizers. AdamW's loss even rises for some steps after the bad one, since its averages remember the bad gradient, and the harm lasts for dozens of steps. The amounts are small because three batches of 512 bytes are few and recovery is quick.
#
# ## 7 · An alarm
#
# PaLM's largest run spiked about 20 times although gradients were clipped. The remedy was plain: go back to a checkpoint some 100 steps before the spike, leave out 200 to 500 batches, go on. The same batches did no harm from another
# checkpoint: it takes the batch *and* the state (2204.02311, section 5.1). First one must notice.
#
# An alarm compares a number with the 50 before it. The mean and the standard deviation are the obvious measure. A robust one takes medians: the distance from the median, in units of 1.4826 times the median distance from the median (*MAD*, 中位数绝对偏差), which is
# the standard deviation for normal numbers. By hand: before are 2, 3, 3, 4, 9. The median is 3, the distances are 1, 0, 0, 1, 6 with the median 1, and 9 does not move either. A new 6 lies 3 / 1.4826 = 2.0 above. **Your turn.**


# %% exercise="robust_jump" minutes=10 difficulty=2
def robust_jump(value: float, before: list[float]) -> float:
    """How far the value lies above the median of ``before``, in units of 1.4826 * their median distance from it."""
    ### BEGIN SOLUTION
    middle = median(before)
    return (value - middle) / (1.4826 * median([abs(x - middle) for x in before]))
    ### END SOLUTION


# %% [markdown]
# **Predict.** The records hold every step of 16 AdamW runs, and half of these have three bad batches each. With a limit of 8 deviations, how many bad batches does the robust alarm find in the loss? How many false alarms does it give there? And in the gradient norm?

# %%
guess_found = guess_false = guess_norm = None

series = [(set(BAD) if "bad" in row["arm"] else set(), row["series"]) for row in batches if row["series"]]
RULES = {
    "threshold": lambda x, before, name: x > {"loss": 6.0, "norm": 2.0}[name],
    "mean + 4 deviations": lambda x, before, name: x > np.mean(before) + 4 * np.std(before),
    "mean + 8 deviations": lambda x, before, name: x > np.mean(before) + 8 * np.std(before),
    "median + 4 robust": lambda x, before, name: robust_jump(x, before) > 4,
    "median + 8 robust": lambda x, before, name: robust_jump(x, before) > 8,
}
alarms = {}
for name in ("loss", "norm"):
    for rule, rings in RULES.items():
        hits = false = 0
        for due, values in series:
            rung = {i for i in range(50, 1_000) if rings(values[name][i], values[name][i - 50 : i], name)}
            hits, false = hits + len(rung & due), false + len(rung - due)
        alarms[name, rule] = hits, false
        print(f"{name:<6}{rule:<22}found {hits} of 24, false alarms {false}")

# %% folded=true
# run this cell to compare your guess
found, false = alarms["loss", "median + 8 robust"]
reveal("found in the loss", found, guess_found, within=1)
reveal("false alarms there", false, guess_false, margin=1)
reveal("false alarms from the norm", alarms["norm", "median + 8 robust"][1], guess_norm, within=1.5, because={"too small": "gradient norms have a long tail: large values are ordinary"})  # fmt: skip
fig, (left, right) = axes(1, 2, xlabel="step", size=(8.6, 3.2))
due, values = next(one for one in series if one[0])
for ax, name, what in ((left, "loss", "training loss (nats a byte)"), (right, "norm", "gradient norm")):
    ax.plot(values[name], color=COLORS["blue"], linewidth=0.7)
    ax.plot(sorted(due), [values[name][i] for i in sorted(due)], "v", color=COLORS["vermillion"], label="bad batch")
    ax.set(ylabel=what, title="One run: " + ("loss" if name == "loss" else "gradient norm before clipping"))
left.legend(loc="upper right")
finish(fig)

# %% folded=true
claim(
    7,
    "In the loss, a threshold of 6 nats, mean + 8 deviations and median + 8 robust deviations find {threshold}, {mean} and {robust} of 24 bad batches with {false} false alarms in all. In the gradient norm the last two find all as well, with {mean_norm} and {norm} false alarms.",
    lambda threshold, mean, robust, false, mean_norm, norm: (
        threshold == mean == robust == 24 and false <= 2 and norm > mean_norm > 5
    ),
    threshold=alarms["loss", "threshold"][0],
    mean=alarms["loss", "mean + 8 deviations"][0],
    robust=alarms["loss", "median + 8 robust"][0],
    false=sum(alarms["loss", rule][1] for rule in ("threshold", "mean + 8 deviations", "median + 8 robust")),
    mean_norm=alarms["norm", "mean + 8 deviations"][1],
    norm=alarms["norm", "median + 8 robust"][1],
)

# %% [markdown]
# For batches of pure noise any sensible rule on the loss will do, a fixed threshold too: the bad loss is four times the ordinary one. Medians are robust to a spike in the window, and pay with more false alarms at the same limit, because the MAD ignores the tails. They are worth it when
# spikes come in groups. The gradient norm warns more often, and more often of nothing. A fixed threshold must be chosen anew for each model; the other rules find their own level.
#
# `SpikeDetector` is the robust rule for a training loop, one number at a time. It also tells of numbers that are not finite, and does not divide by zero on a flat line.


# %%
#| export
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


# %% folded=true
#| export
def spikes(values: Iterable[float], window: int = 50, threshold: float = 8.0, least: int = 10) -> list[int]:
    """Where a series of numbers jumps, by `SpikeDetector`: indices from 0.

    >>> spikes([3.0, 3.1] * 10 + [9.0] + [3.0, 3.1] * 5)
    [20]
    """
    detector = SpikeDetector(window, threshold, least)
    return [i for i, value in enumerate(values) if detector.update(value)]


# %%
loss = values["loss"]
print("SpikeDetector on the run above rings at the steps", spikes(loss, window=50, threshold=8.0))

# %% [markdown]
# ## Answers
#
# Every sentence below was tested on the numbers in it while this notebook ran; a false one would have stopped its cell.

# %%
claims()

# %% [markdown]
# ## Often said, and what is true
#
# | often said | what is true |
# |---|---|
# | A saturated softmax has no gradient | The typical query has none; a few get larger ones than before: section 2. |
# | A z-loss of 1e-4 keeps log Z at 0 | In 1,000 steps it slows the drift a little; the strong one does: section 3. |
# | z-loss makes logits small | It moves them down; the largest absolute logit can grow. |
# | z-loss comes from ST-MoE | That one is for the router's logits (2202.08906). For the output: PaLM, and T5's code before. |
# | QK-norm comes from ViT-22B | Henry et al. 2020, with unit vectors and a learned scale; ViT-22B has LayerNorm, most language models RMSNorm. |
# | A soft cap cures saturation | It bounds what softmax sees; beyond the cap its own slope vanishes. |
# | Without norms nothing trains | Two blocks do, at an ordinary rate: section 5. |
# | Clipping prevents spikes | PaLM clipped and spiked about 20 times. It limits what one batch can do. |
# | Clipping lowers AdamW's learning rate | AdamW does not notice a constant factor; only *uneven* clipping changes its steps. |
# | A threshold on the loss is useless as an alarm | It found every batch of noise here: section 7. |
# | Spikes are bad data | In PaLM the same batches did no harm from another checkpoint. |
# | Early dropout helps language models | The evidence is for underfitting vision models (2303.01500). In one epoch of language modelling it did harm (2505.24788). |
#
# ## What you built
#
# `cs336lite.stability`: `ZLoss`, `SoftCappedLoss`, `SoftCappedAttention`, `QKNorm`, `watch`, `monitor`, `SpikeDetector` · `cs336lite.stress`: the runs of this
# lecture; `cs336lite results 05` computes all records.
#
# ## Limits
#
# - 80,000 parameters, two blocks, 1,000 steps, bytes as tokens. Large learning rates stand in for large models, as in 2309.14322; that is a proxy, not the thing.
# - Five seeds. Arms are compared at the same rates, a factor of five or ten apart, and not each at its own best rate.
# - The bad batches are pure noise. Repeated or mislabelled text is harder to notice.
# - Everything ran in float32. What bfloat16 adds to trouble was measured for the loss alone.
# - A model with `SoftCappedLoss` must be sampled with its cap. Position schemes that take the place of `attend` can be neither watched nor capped.
#
# ## Exercises for longer evenings
#
# - Repeat the norms' comparison with eight blocks. At which rate does post-norm fail now?
# - Put one document 50 times into a batch instead of noise. Which alarm still rings?
# - Go back to the last checkpoint when `SpikeDetector` rings, with lecture 04's `train`.
#
# ## Sources
#
# PaLM (arXiv 2204.02311) · ST-MoE (2202.08906) · ViT-22B (2302.05442) · QK-norm (2010.04245) · small-scale proxies (2309.14322) · Gemma 2 (2408.00118) · Gemma 3
# (2503.19786) · pre-norm (2002.04745) · post-norm in shallow models (2206.00330) · clipping (1211.5063) · early dropout (2303.01500) · dropout in one epoch (2505.24788).
#
# ## Next
#
# Assignment **a5_moe_router**: the router that sends each token to its experts. Then lecture **06 · mixture of experts**: a router is a third softmax, and gets a z-loss of its own.

# %%
finished("05_stability")
