# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: stability, minutes: 2, prerequisites: [04_hyperparameters], device: CPU}
# ---

# %% [markdown]
# # 05 · Stability (稳定性)
#
# **2 minutes to run on 2 cores · prerequisites: 04 · device: CPU**
#
# A large run that fails after a week cannot be repeated on a laptop. The mechanisms can: numbers grow that nothing
# holds, a softmax saturates, one step is too long. You will build the usual cures as slots of lecture 03's model, and
# monitors that show trouble before the loss does. Nothing is patched: an experiment is a configuration.
#
# ## By the end you will have shown
#
# 1. **Cross entropy exerts no force on log Z, and bfloat16 cares about it**: 100 added to all logits make a token's
#    loss wrong by more than 0.1 nats.
# 2. **Attention logits grow with the square of the weights, and a saturated softmax learns nothing**: it keeps less
#    than a thousandth of its gradient.
# 3. **log Z climbs without z-loss and comes down with it.** The paper's coefficient shows almost nothing in 100 steps,
#    and a strong one costs loss.
# 4. **QK-norm survives learning rates that break the plain model**, because its logits have a bound. At a tuned rate
#    it was ahead by a tenth of a nat, on three seeds.
# 5. **Post-norm gets stuck at learning rates where pre-norm trains**; warmup made that rarer and did not end it.
# 6. **AdamW does not notice a gradient that is always 1,000 times larger, and does notice one that is so once**:
#    clipping takes most of the harm out of a bad batch.
# 7. **A detector made of medians** sounds at the bad batch and hardly ever elsewhere.
# 8. **Early dropout does not help here**, where nothing is seen twice.
#
# Every claim is followed by a cell that measures it and stops with an error if it is false. Runs that take longer than
# a lecture are read from `notebooks/results/`, where the command stands that computes them again; beside them a run of
# the same kind is made here and now.

# %% [markdown]
# ## Setup

# %%
from dataclasses import replace
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F

from cs336lite.course import finished, whose
from cs336lite.course.data import data_folder, technical_text
from cs336lite.course.measure import reveal
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.course.results import recorded, source
from cs336lite.training import Experiment, Run, Tokens, TrainingConfig, describe, generator, sweep, train

torch.set_num_threads(1)
# without these nothing is trained here: cells show recorded runs and what our own run has shown
READY = whose("attention", "rope", lecture="05_stability")
text = np.frombuffer(technical_text().encode(), np.uint8)  # a byte is a token: there are 256
TRAIN, HELDOUT = Tokens(text[:900_000]), Tokens(text[900_000:])

YOURS = "this runs on your attention and your RoPE: do check('a2_attention') and check('a3_rope') pass?"

# %%
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


# %%
#| export
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cs336lite.attention import scaled_dot_product_attention
from cs336lite.layers import LayerNorm, RMSNorm
from cs336lite.model import Transformer, TransformerConfig, cross_entropy, sdpa
from cs336lite.positions import attend_with_scores
from cs336lite.slots import Attend, masks_causally

# %% tags=["timing"]
MODEL = TransformerConfig(vocab_size=256, context_length=64, d_model=64, num_layers=2, num_heads=1, d_ff=172)
TRAINING = TrainingConfig(steps=150, batch_size=8, lr=1e-2, warmup=10)
SHORT = replace(TRAINING, steps=100)
SEEDS = (0, 1, 2)  # of weights, batches and dropout; runs that are made here and now have seed 3
frequency = np.bincount(text[:900_000], minlength=256) / 900_000
UNIGRAM = -np.log(np.maximum(frequency, 1e-9)[text[900_000:]]).mean()  # what knowing only frequencies gives
print(f"{len(text):,} bytes; who knows only how frequent each byte is has a loss of {UNIGRAM:.3f} nats")


# %% [markdown]
# ## 1 · Why softmax
#
# A Transformer has two kinds of softmax, one over the vocabulary at its end and one over the keys in every head:
#
# $$p_i = \frac{e^{x_i}}{Z},\qquad Z = \sum_j e^{x_j}$$
#
# The rest is products and sums, whose size norms hold in check. Softmax has two weak points.
#
# ### At the output: nothing holds log Z
#
# Add a constant to all logits: $Z$ grows, the probabilities stay. So does the cross entropy (交叉熵) $\log Z -
# x_\text{target}$, and its gradient $p - y$ sums to zero over the vocabulary: no force at all in the one direction that
# changes $\log Z$ alone. Where logits drift, they drift unseen. Formats do see it: bfloat16 (lecture 02) has 8 bits of
# precision, so numbers around 1,000 lie 4 apart.


# %%
#| export
def log_z(logits: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows"]:
    """log sum_i exp(logits_i), the logarithm of softmax's denominator Z, in float32 or better.

    >>> round(log_z(torch.zeros(256)).item(), 3)
    5.545
    """
    return torch.logsumexp(logits.float() if logits.dtype != torch.float64 else logits, dim=-1)


def soft_cap(x: Float[Tensor, "..."], cap: float) -> Float[Tensor, "..."]:
    """cap * tanh(x / cap): x where it is small, never beyond -cap and cap (2408.00118, section 2).

    >>> soft_cap(torch.tensor([-1000.0, 0.5, 1000.0]), 50.0).round().tolist()
    [-50.0, 0.0, 50.0]
    """
    return cap * torch.tanh(x / cap)


# %% [markdown]
# **Predict.** Add 100 to all logits, round them to bfloat16, and take the loss of 2,000 tokens. A loss of about 10 nats
# will be off by how much, for a single token?

# %%
guess = None  # nats, a typical token

rng = torch.Generator().manual_seed(0)
logits, targets = 3 * torch.randn(2_000, 256, generator=rng), torch.randint(256, (2_000,), generator=rng)
logits.requires_grad_()
F.cross_entropy(logits, targets, reduction="sum").backward()
force = logits.grad.sum(dim=-1).abs().max()
print(f"largest sum of a token's gradient over the vocabulary: {force:.0e}")

off = {}
print("added  log Z  loss in float32  error of a token's loss in bfloat16")
for added in (0, 10, 100, 1_000):
    shifted = logits.detach() + added
    exact = F.cross_entropy(shifted, targets, reduction="none")
    low = F.cross_entropy(shifted.bfloat16().float(), targets, reduction="none")
    off[added] = (low - exact).square().mean().sqrt().item()
    print(f"{added:>5}  {log_z(shifted).mean():>5.0f}  {exact.mean():>15.3f}  {off[added]:>35.3f}")
reveal("typical error with 100 added", f"{off[100]:.2f} nats", guess)
assert force < 1e-5 and off[0] < 0.02 and off[100] > 0.1 and off[1_000] > 1

# %% [markdown]
# ### In attention: a saturated softmax passes no gradient
#
# The logits are $q \cdot k / \sqrt{d}$, and both factors are learned: twice the weights, four times the logits. A
# softmax of large logits is nearly one-hot (*saturated*, 饱和), and its derivative $p_i(\delta_{ij} - p_j)$ nearly zero:
# the head looks at one key and can no longer learn to look at another.
#
# **Predict.** Queries and keys of 64 dimensions, normal numbers. Multiply the weights of both by 8. What becomes of the
# gradient of the logits, for a typical query?

# %%
guess = None  # as a share of what it was

q, k, v, w = torch.randn(4, 64, 64, generator=rng)
factors = np.geomspace(0.25, 8, 16)
entropy, gradient = [], []
for factor in factors:
    scores = ((factor * q) @ (factor * k).T / 8).requires_grad_()
    p = scores.softmax(dim=-1)
    (p @ v * w).sum().backward()
    entropy.append(torch.special.entr(p).sum(dim=-1).mean().item())
    gradient.append(scores.grad.norm(dim=-1).median().item())
share = gradient[-1] / np.interp(1, factors, gradient)
reveal("what is left of the gradient", f"{share:.0e}", guess)

fig, (left, right) = axes(1, 2, xlabel="factor on the weights of q and k", size=(7.6, 2.9))
left.plot(factors, entropy, color=COLORS["blue"])
left.set(ylabel="entropy of the weights (nats)", title="Attention becomes one-hot")
right.plot(factors, gradient, color=COLORS["vermillion"])
right.set(yscale="log", ylabel="gradient of the logits (median norm)", title="and stops learning")
for ax in (left, right):
    ax.set_xscale("log", base=2)
assert entropy[0] > 4 > 0.5 > entropy[-1] and share < 1e-3
finish(fig)

# %% [markdown]
# The three cures act at these places: **z-loss** pulls $\log Z$ to zero, **QK-norm** fixes the size of queries and
# keys, a **soft cap** bends large logits down.
#
# ## 2 · How arms are compared
#
# An *arm* is a model and a way to train it. All arms of a comparison see the same batches, for the same steps and
# tokens; each runs at every learning rate of the grid with three seeds, and is judged at the rate that is best for
# *it*. Shown are means and 95 % intervals (区间) of three runs, from Student's t: $4.30\, s/\sqrt{3}$; differences are
# taken seed by seed.


# %%
def compare(name: str, arms: dict, rates: tuple, keep: tuple = (), every: int = 10) -> list[dict]:
    """The recorded runs of each arm, (model, training), at each learning rate with each seed: a dict for a run."""
    labels = [(arm, lr, seed) for arm in arms for lr in rates for seed in SEEDS]

    def experiment(arm: str, lr: float, seed: int) -> Experiment:
        model, training = arms[arm]
        model, observe = (watch(model), monitor) if keep else (model, None)
        return Experiment(model, replace(training, lr=lr, seed=seed), arm, observe, capped_cross_entropy)

    def compute() -> list[dict]:
        runs = [experiment(*label) for label in labels]
        runs = sweep(runs, TRAIN, validation=HELDOUT, cache=data_folder() / "runs_05")
        rows = []
        for (arm, lr, seed), run in zip(labels, runs):
            curves = {key: [row[key] and round(row[key], 3) for row in run.metrics[::every]] for key in keep}
            final = None if run.diverged else round(run.final, 4)
            rows.append({"arm": arm, "lr": lr, "seed": seed, "final": final} | curves)
        return rows

    return recorded(name, compute, {"arms": describe(arms), "rates": rates, "seeds": SEEDS})


# %%
def interval(values: list[float]) -> tuple[float, float]:
    """The mean of three values and half the width of its 95 % interval."""
    return float(np.mean(values)), float(4.303 * np.std(values, ddof=1) / np.sqrt(3))


def losses(rows: list[dict], arm: str) -> dict[float, list[float]]:
    """Validation losses of the three seeds, by learning rate; infinite where a run diverged."""
    found = {}
    for row in rows:
        if row["arm"] == arm:
            found.setdefault(row["lr"], []).append(np.inf if row["final"] is None else row["final"])
    return found


def tuned(rows: list[dict], arm: str) -> list[float]:
    """The three losses at the learning rate with the lowest mean."""
    return min(losses(rows, arm).values(), key=np.mean)


def gap(rows: list[dict], arm: str, base: str) -> tuple[float, float]:
    """Mean and half interval of arm minus base, both at their best rates, seed by seed."""
    return interval(np.subtract(tuned(rows, arm), tuned(rows, base)))


# %%
def table(rows: list[dict]) -> None:
    """Print the mean validation loss of each arm at each learning rate with its interval; * marks the arm's best."""
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    rates = list(losses(rows, arms[0]))
    print(f"{'validation loss (nats)':<25}" + "".join(f"{f'lr {lr:g}':>17}" for lr in rates))
    for arm in arms:
        cells = []
        for values in losses(rows, arm).values():
            star = "*" if values == tuned(rows, arm) else " "
            mean, half = interval(values) if np.isfinite(values).all() else (np.inf, np.nan)
            cells.append(f"{mean:.3f} ± {half:.3f}{star}" if np.isfinite(mean) else "diverged ")
        print(f"{arm:<25}" + "".join(f"{cell:>17}" for cell in cells))
    for arm in arms[1:]:
        mean, half = gap(rows, arm, arms[0])
        print(f"{arm} against {arms[0]}, each at its best: {mean:+.3f} ± {half:.3f}")


# %%
def basins(rows: list[dict], ax, *, seeds: bool = False) -> None:
    """Draw the mean loss against the learning rate for each arm, with intervals, or with each seed as a dot."""
    looks = zip(COLORS.values(), ("-", "--", "-.", ":"))
    for number, (arm, (color, line)) in enumerate(zip(dict.fromkeys(row["arm"] for row in rows), looks)):
        found = losses(rows, arm)
        means, halves = zip(*(interval(values) for values in found.values()))
        rates = np.array(list(found)) * 1.02**number  # side by side
        ax.errorbar(rates, means, None if seeds else halves, color=color, linestyle=line, capsize=3, label=arm)
        ax.plot(rates, list(found.values()) if seeds else means, "o", color=color, markersize=4)
    ax.set(xscale="log", xlabel="learning rate", ylabel="validation loss (nats)")


# %% [markdown]
# ## 3 · z-loss
#
# PaLM (arXiv 2204.02311, section 5) adds a spring to the loss:
#
# $$L = \underbrace{\log Z - x_\text{target}}_{\text{cross entropy}} + \zeta\,(\log Z)^2,\qquad \zeta = 10^{-4}
# \qquad\Rightarrow\qquad \frac{\partial L}{\partial x} = p - y + 2\zeta \log Z\; p$$
#
# The gradient now sums to $2\zeta\log Z$ over the vocabulary: a force back to $\log Z = 0$, where logits are
# log-probabilities. T5's code had this before PaLM; ST-MoE (2202.08906) does the same to the logits of a *router*,
# which is lecture 06.


# %%
#| export
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


# %%
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


# %%
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
# A soft cap at the output (Gemma 2, arXiv 2408.00118: 30) is the other cure: $x \mapsto c \tanh(x / c)$. Such a model
# must also be *used* with its cap, so its validation score needs it: `capped_cross_entropy`.
#
# ### A monitor
#
# What a run should tell is not in its loss. `WatchedLoss` stands around a loss slot, notes, and changes nothing.


# %%
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


# %% [markdown]
# `Watched` does the same around an `attend` slot. It must compute the logits a second time, so watch small runs, or few
# steps of large ones.


# %%
#| export
def largest_logit(Q: Tensor, K: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Float[Tensor, ""]:
    """The largest Q K^T / sqrt(d) that may be attended to, without gradient; ``causal`` for the last q of k tokens."""
    with torch.no_grad():
        logits = (Q @ K.mT / math.sqrt(Q.shape[-1])).float()
        if causal:
            q, k = logits.shape[-2:]
            logits = logits.masked_fill(~torch.ones(q, k, dtype=torch.bool, device=Q.device).tril(k - q), -torch.inf)
        return (logits if mask is None else logits.masked_fill(~mask, -torch.inf)).amax()


# %%
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


# %%
#| export
def watch(config: TransformerConfig) -> TransformerConfig:
    """The configuration with `Watched` around its attention and `WatchedLoss` around its loss, for `monitor` to read.

    ValueError where a position scheme (alibi, t5, …) has taken the place of ``attend``.
    """
    named = {"plain": scaled_dot_product_attention, "sdpa": sdpa}
    attend = named[config.attend] if isinstance(config.attend, str) else config.attend
    return config.replace(attend=Watched(attend), loss=WatchedLoss(_loss_of(config)))


# %%
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


# %% [markdown]
# ### Measured
#
# At the start all 256 bytes are about equally likely: $\log Z = \log 256 = 5.55$, though nothing demands it.
#
# **Predict.** After 150 steps, where is $\log Z$ without z-loss? And with $\zeta = 10^{-4}$, with $10^{-2}$?

# %% tags=["timing"]
guess = None  # (none, 1e-4, 1e-2)


def here(model: TransformerConfig, seed: int = 3, **changes) -> Run:
    """Train once, watched, with a seed of its own."""
    training = replace(TRAINING, seed=seed, **changes)
    return train(watch(model), training, TRAIN, validation=HELDOUT, observe=monitor, score=capped_cross_entropy)


if READY.or_show("z-loss"):
    free, weak, held = (here(MODEL.replace(loss=ZLoss(z))).values("log_z") for z in (0.0, 1e-4, 1e-2))
    reveal("log Z after 150 steps", [f"{course[-1]:.2f}" for course in (free, weak, held)], guess)
    assert held[-1] < 3 < 5 < free[-1], YOURS

# %%
arms = {
    "none": (MODEL, SHORT),
    "z = 1e-4": (MODEL.replace(loss=ZLoss(1e-4)), SHORT),
    "z = 1e-2": (MODEL.replace(loss=ZLoss(1e-2)), SHORT),
    "z = 1e-1": (MODEL.replace(loss=ZLoss(1e-1)), SHORT),
    "soft cap 30": (MODEL.replace(loss=SoftCappedLoss(30.0)), SHORT),
}
outputs = compare("05_zloss.json", arms, rates=(1e-3, 3e-3, 1e-2, 3e-2), keep=("log_z", "output_logit"))
print(source("05_zloss.json"))
table(outputs)
end = {arm: [row["log_z"][-1] for row in outputs if (row["arm"], row["lr"]) == (arm, 1e-2)] for arm in arms}
print(
    "log Z at step 91, lr 0.01:",
    {arm: f"{mean:.2f} ± {half:.2f}" for arm, (mean, half) in zip(arms, map(interval, end.values()))},
)
moved, _ = interval(np.subtract(end["z = 1e-4"], end["none"]))
cost, wide = gap(outputs, "z = 1e-1", "none")
assert abs(moved) < 0.5 and np.mean(end["none"]) > 6 > 3 > np.mean(end["z = 1e-2"]) > 1 > np.mean(end["z = 1e-1"])
assert (
    cost > wide
    and abs(gap(outputs, "z = 1e-4", "none")[0]) < 0.02
    and abs(gap(outputs, "soft cap 30", "none")[0]) < 0.02
)

# %%
fig, ax = axes(xlabel="step", ylabel="log Z, mean over tokens", title="Nothing holds log Z but z-loss", size=(6.4, 3.2))
for (arm, color), line in zip(zip(arms, COLORS.values()), ("-", "--", "-.", "-", ":")):
    runs = [row["log_z"] for row in outputs if row["arm"] == arm and row["lr"] == 1e-2]
    mean, spread = np.mean(runs, axis=0), np.std(runs, axis=0, ddof=1) * 4.303 / np.sqrt(3)
    steps = 1 + 10 * np.arange(len(mean))
    ax.plot(steps, mean, line, color=color, label=arm)
    ax.fill_between(steps, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0)
ax.axhline(np.log(256), color="#888888", linewidth=0.8)
ax.legend(ncols=3, fontsize=9, loc=(0.32, 0.19))
finish(fig)

# %% [markdown]
# Without z-loss $\log Z$ climbs above its start, and how far depends on the learning rate, not on any need. $10^{-1}$
# holds it at zero and costs 0.13 nats; $10^{-2}$ is still on its way. **PaLM's $10^{-4}$ shows next to nothing here**:
# a tenth of a unit, and no loss gained or lost. It is made for hundreds of thousands of steps, and for bfloat16;
# nothing breaks here without it. The cap of 30 is never reached: the largest logits are about 8, so it changes nothing.
#
# One more thing the monitor shows: z-loss does not make logits small. To bring $\log Z$ down, all but a few must become
# very negative.

# %%
largest = {
    arm: np.mean([row["output_logit"][-1] for row in outputs if (row["arm"], row["lr"]) == (arm, 1e-2)]) for arm in arms
}
print("largest absolute logit at step 91, lr 0.01:", {arm: f"{x:.1f}" for arm, x in largest.items()})
free = [row for row in outputs if row["arm"] == "none"]
climb = {lr: np.mean([max(row["log_z"]) for row in free if row["lr"] == lr]) for lr in (1e-3, 3e-3, 1e-2, 3e-2)}
print("highest log Z without z-loss, by learning rate:", {lr: f"{x:.2f}" for lr, x in climb.items()})
assert largest["none"] < 9 < 11 < largest["z = 1e-1"] and np.log(256) < climb[3e-3] < climb[1e-2] - 0.2

# %% [markdown]
#
# ## 4 · Attention logits: QK-norm and the soft cap
#
# Training ViT-22B, Dehghani et al. (arXiv 2302.05442) saw logits grow until attention was one-hot and the loss
# diverged, at about 8 billion parameters. Their cure, after Henry et al. (2010.04245): normalise queries and keys
# before the product. Wortsman et al. (2309.14322) showed that small models do the same at large learning rates, which
# is how we see it here.
#
# $$\text{logit} = \frac{\text{norm}(q)\cdot\text{norm}(k)}{\sqrt{d}}\ \le\ \sqrt{d}\;\max|g_q|\;\max|g_k|$$
#
# with the learned gains $g$: a bound that no learning rate and no weight can break, except by the gains themselves.
# RoPE comes after and turns vectors without changing their length.


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
# Gemma 2 chose a soft cap of 50 instead. Watch out: where it bends, its own derivative $1 - \tanh^2(x/c)$ vanishes.


# %%
#| export
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


# %% [markdown]
# **Predict.** One head of 64 dimensions, a learning rate of 0.03. Largest logit after 150 steps, plain and with
# QK-norm?

# %% tags=["timing"]
guess = None  # (plain, QK-norm)

if READY.or_show("QK-norm"):
    plain, normed = (here(MODEL.replace(qk_norm=norm), lr=3e-2) for norm in (None, QKNorm()))
    largest = [run.values("attention_logit").max() for run in (plain, normed)]
    reveal("largest attention logit", [f"{x:.0f}" for x in largest], guess)
    for block in normed.model.decoder.blocks:
        norms = [part for part in block.attention.modules() if isinstance(part, RMSNorm)]  # of queries, of keys
        gains = [norm.weight.detach().abs().max().item() for norm in norms]
        print(f"largest gains {gains[0]:.2f} and {gains[1]:.2f}: no logit can exceed {8 * gains[0] * gains[1]:.1f}")
    at_start = [run.values("attention_logit")[0] for run in (plain, normed)]
    print(f"before the first step: {at_start[0]:.2f} and {at_start[1]:.2f}")
    assert largest[0] > 5 * largest[1] and largest[1] < 40, YOURS

# %%
arms = {
    "plain": (MODEL, TRAINING),
    "QK-norm": (MODEL.replace(qk_norm=QKNorm()), TRAINING),
    "soft cap 50": (MODEL.replace(attend=SoftCappedAttention(50.0)), TRAINING),
}
attentions = compare("05_attention.json", arms, rates=(1e-3, 3e-3, 1e-2, 3e-2, 6e-2), keep=("attention_logit",))
print(source("05_attention.json"))
table(attentions)
normed, plain = losses(attentions, "QK-norm"), losses(attentions, "plain")
high = np.concatenate([np.subtract(normed[lr], plain[lr]) for lr in (3e-2, 6e-2)])
print("QK-norm against plain at 0.03 and at 0.06, seed by seed:", [f"{x:+.2f}" for x in high])
wild = [row for row in attentions if row["lr"] == 6e-2]
peak = {arm: np.mean([max(row["attention_logit"]) for row in wild if row["arm"] == arm]) for arm in arms}
print("largest attention logit at 0.06, mean of the seeds:", {arm: round(x) for arm, x in peak.items()})
assert (high < 0).all() and peak["plain"] > 50 * peak["QK-norm"] and peak["soft cap 50"] > 200

# %%
fig, (left, right) = axes(1, 2, size=(8.4, 3.3))
for lr, line in ((3e-3, ":"), (1e-2, "--"), (3e-2, "-.")):
    for arm, color in (("plain", COLORS["blue"]), ("QK-norm", COLORS["vermillion"])):
        runs = [row["attention_logit"] for row in attentions if (row["arm"], row["lr"]) == (arm, lr)]
        steps = 1 + 10 * np.arange(len(runs[0]))
        left.plot(steps, np.exp(np.mean(np.log(runs), axis=0)), line, color=color, label=f"{arm}, lr {lr:g}")
left.set(yscale="log", xlabel="step", ylabel="largest attention logit", title="Logits grow with the learning rate")
left.legend(fontsize=8, loc="upper left", ncols=2)
left.set_ylim(top=6e4)
basins(attentions, right)
right.set_title("and cost loss where they do")
finish(fig)

# %% [markdown]
# **The gain of QK-norm is tolerance**: at 0.03 and 0.06 it is ahead with every seed, and at 0.06 the plain model ends
# little more than 0.1 nats below what the frequencies of bytes alone give, with logits above a thousand; QK-norm stays
# near 14 and learns on. That matters where nobody can afford to tune, and that is where models are large. Where each is
# tuned it is ahead by a tenth of a nat, on three seeds and after 150 steps, which is no ranking.
#
# The soft cap bounds what softmax sees, and the logits under it grow on, past the point where tanh has any slope. At
# 0.03 and 0.06 its mean loss lies between the two, which three seeds do not make certain. Gemma 3 went from Gemma 2's
# soft cap to QK-norm (2503.19786).
#
# ## 5 · Pre-norm again, and warmup
#
# Lecture 03 measured gradients by depth. Xiong et al. (arXiv 2002.04745) conclude that post-norm (后置归一化) *needs* warmup
# (预热), since at the start its gradients near the output are large, and that pre-norm can do without. Warmup itself is
# older: Goyal et al. (1706.02677) used it for large batches. What does it look like when tiny?
#
# Six layers, no clipping, 120 steps; warmup is 60 of them, or none.
#
# **Predict.** At its best learning rate, which of the four is best?

# %%
guess = None  # pre or post, with or without

deep = MODEL.replace(num_layers=6, num_heads=2)
warm = TrainingConfig(steps=120, batch_size=8, warmup=60, clip=None)
arms = {
    f"{place}-norm, {warmup} warmup steps": (deep.replace(norm_placement=place), replace(warm, warmup=warmup))
    for place in ("pre", "post")
    for warmup in (0, 60)
}
norms = compare("05_norm.json", arms, rates=(1e-3, 3e-3, 1e-2))
print(source("05_norm.json"))
table(norms)
reveal("best", min(arms, key=lambda arm: np.mean(tuned(norms, arm))), guess)
stuck = {arm: sum(int(x > UNIGRAM - 0.05) for values in losses(norms, arm).values() for x in values) for arm in arms}
print("of nine runs, those that learned little more than the frequencies of bytes:", stuck)
mean, half = gap(norms, "post-norm, 60 warmup steps", "pre-norm, 60 warmup steps")
print(f"post-norm against pre-norm, both with warmup, each at its best: {mean:+.3f} ± {half:.3f}")
pre_cold, pre_warm, post_cold, post_warm = stuck.values()
assert pre_cold == pre_warm == 0 < post_warm <= post_cold and abs(mean) < half

# %%
fig, ax = axes(title="Where post-norm gets stuck: three seeds and their mean", size=(6.4, 3.4))
basins(norms, ax, seeds=True)
ax.axhline(UNIGRAM, color="#888888", linewidth=0.8)
ax.legend(loc="lower left", fontsize=9)
ax.set_ylim(bottom=2.5)
finish(fig)

# %% [markdown]
# The grey line is the loss of who knows only how frequent bytes are. **Pre-norm learns at every rate, with and without
# warmup; post-norm does not**: without warmup four of nine runs are stuck at that line, with it three. So warmup helped
# post-norm a little here, and did not make it safe. Pre-norm is ahead with warmup by 0.05 nats, within an interval that
# holds zero: "pre-norm needs no warmup" is about surviving, not about the best loss.
#
# Is post-norm the worse model? Takase et al. (2206.00330) find it *better* with six layers or fewer, where it trains.
# Ours is 0.1 nats behind on three tuned seeds, in an interval that holds zero, so it says nothing.
#
# ## 6 · Gradient clipping
#
# Pascanu et al. (arXiv 1211.5063) met gradients that explode at cliffs of the loss, and cut them to a length $c$:
#
# $$g \leftarrow g \cdot \min\!\left(1, \frac{c}{\lVert g\rVert}\right)$$
#
# with one norm over all parameters, so that the direction stays. For SGD it bounds the step. AdamW divides by the size
# of past gradients anyway: multiply *all* gradients by 1,000 and it takes the same steps. To AdamW clipping matters
# only where one gradient is unlike those before.


# %%
@dataclass(frozen=True)
class Times:
    """A loss slot: cross entropy times a factor."""

    factor: float

    def __call__(self, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        return self.factor * cross_entropy(hidden, weight, targets)


def clip(gradients: list[Tensor], most: float) -> list[Tensor]:
    """The gradients, shortened together to the norm ``most`` where they are longer."""
    norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
    return [g * min(1.0, most / norm) for g in gradients]


gradients = [100 * torch.randn(size, generator=rng) for size in ((5, 4), (7,))]
parts = [nn.Parameter(torch.zeros_like(g)) for g in gradients]
for part, g in zip(parts, gradients):
    part.grad = g.clone()
nn.utils.clip_grad_norm_(parts, 1.0)
assert all(torch.allclose(part.grad, g, atol=1e-5) for part, g in zip(parts, clip(gradients, 1.0)))
assert all(torch.equal(a, b) for a, b in zip(clip(gradients, 1e6), gradients))

# %% tags=["timing"]
small = replace(TRAINING, steps=20, clip=None)
moved = {}
if READY.or_show("loss times 1,000"):
    for optimizer, lr in (("adamw", 1e-2), ("sgd", 1e-4)):
        weights = [
            train(
                MODEL.replace(loss=Times(factor)), replace(small, optimizer=optimizer, lr=lr), TRAIN
            ).model.output.weight
            for factor in (1.0, 1_000.0)
        ]
        start = Transformer(MODEL, generator=generator(0, 0, purpose=1)).output.weight
        moved[optimizer] = [(weight - start).norm().item() for weight in weights]
        once, thousandfold = moved[optimizer]
        print(f"{optimizer}: the output layer moved by {once:.3g}, with the loss times 1,000 by {thousandfold:.3g}")
    assert abs(moved["adamw"][1] / moved["adamw"][0] - 1) < 0.05 and moved["sgd"][1] > 50 * moved["sgd"][0], YOURS

# %% [markdown]
# ### One bad batch
#
# The 50th batch is noise: random bytes. The loss of that step says nothing about the model; the update that follows
# does.
#
# **Predict.** In the ten steps after it, by how many nats is the loss too high, with and without clipping at 1?


# %%
class OneBadBatch(Tokens):
    """Tokens whose batch number ``bad`` is random bytes; 0: none is."""

    def __init__(self, ids: np.ndarray, bad: int) -> None:
        super().__init__(ids)
        self.bad, self.served = bad, 0

    def batch(self, batch_size: int, seq: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        self.served += 1
        if self.served != self.bad:
            return super().batch(batch_size, seq, rng)
        noise = torch.randint(256, (batch_size, seq + 1), generator=rng)
        return noise[:, :-1], noise[:, 1:]


# %% tags=["timing"]
guess = None  # (with, without)

flat = replace(TRAINING, steps=75, schedule="constant")
shaken = {}  # (clip, bad batch, seed) -> run
if READY.or_show("bad batch"):
    for most, bad, seed in product((None, 1.0), (0, 50), (3, 4, 5)):
        training = replace(flat, clip=most, seed=seed)
        shaken[most, bad, seed] = train(MODEL, training, OneBadBatch(TRAIN.ids, bad))
    excess = {
        most: [shaken[most, 50, s].values() - shaken[most, 0, s].values() for s in (3, 4, 5)] for most in (None, 1.0)
    }
    harm = {most: interval([x[50:60].mean() for x in runs]) for most, runs in excess.items()}
    reveal("nats too high, with and without", (round(harm[1.0][0], 3), round(harm[None][0], 3)), guess)
    for most, (mean, half) in harm.items():
        print(f"clip {most}: {mean:+.3f} ± {half:.3f} in the ten steps after the bad batch")
    assert harm[None][0] > 0.03 and harm[None][0] > 2 * harm[1.0][0], YOURS

# %%
if READY.or_show("bad batch, drawn"):
    fig, (left, right) = axes(1, 2, xlabel="step", size=(8.4, 3))
    for most, color in ((None, COLORS["vermillion"]), (1.0, COLORS["blue"])):
        name = "no clipping" if most is None else "clipped at 1"
        steps = np.arange(1, flat.steps + 1)
        norm = np.exp(np.mean([np.log(shaken[most, 50, seed].values("grad_norm")) for seed in (3, 4, 5)], axis=0))
        left.plot(steps, norm, color=color, label=name)
        right.plot(steps[50:], np.mean(excess[most], axis=0)[50:], color=color, label=name)
    left.set(ylabel="gradient norm, before clipping", title="One batch of noise", yscale="log")
    right.set(ylabel="loss above the clean run's (nats)", title="and what it costs: mean of three seeds")
finish(fig) if READY else None

# %%
arms = {"no clipping": (MODEL, replace(SHORT, clip=None)), "clipped at 1": (MODEL, SHORT)}
adam_clipped = compare("05_clip_adamw.json", arms, rates=(1e-3, 3e-3, 1e-2, 3e-2))
print("AdamW;", source("05_clip_adamw.json"))
table(adam_clipped)

# %%
momentum = replace(SHORT, optimizer="sgd", betas=(0.9, 0.0))
arms = {"no clipping": (MODEL, replace(momentum, clip=None)), "clipped at 1": (MODEL, momentum)}
sgd_clipped = compare("05_clip_sgd.json", arms, rates=(0.03, 0.1, 0.3))
print("SGD with momentum 0.9;", source("05_clip_sgd.json"))
table(sgd_clipped)
for name, rows in (("SGD", sgd_clipped), ("AdamW", adam_clipped)):
    apart = np.subtract(*(np.concatenate(list(losses(rows, arm).values())) for arm in arms))
    print(f"{name}: clipped is better in {(apart > 0).sum()} of {len(apart)} pairs of the same rate and seed")
    assert (apart > 0).mean() > (0.8 if name == "SGD" else 0.5)

# %% [markdown]
# For SGD clipping is better in nearly all pairs of the same rate and seed; how much better, three tuned seeds cannot say.
# For AdamW, on clean batches, it does little, and not always good. The bad batch above is what it is for.
#
# ## 7 · Watching for spikes
#
# PaLM's 540B run spiked about 20 times although gradients were clipped. The remedy was plain: go back to a checkpoint
# some 100 steps before the spike, leave out 200 to 500 batches, go on. The same batches did no harm from another
# checkpoint: it takes the batch *and* the state (2204.02311, section 5.1). To do that you must first notice.
#
# A threshold on the loss itself is useless, since the loss falls; so is a mean, since a spike moves it. Medians do.


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


# %%
#| export
def spikes(values: Iterable[float], window: int = 50, threshold: float = 8.0, least: int = 10) -> list[int]:
    """Where a series of numbers jumps, by `SpikeDetector`: indices from 0.

    >>> spikes([3.0, 3.1] * 10 + [9.0] + [3.0, 3.1] * 5)
    [20]
    """
    detector = SpikeDetector(window, threshold, least)
    return [i for i, value in enumerate(values) if detector.update(value)]


# %% [markdown]
# **Predict.** Twelve runs of 75 steps are above, six of them with a bad batch. How many alarms should there be, how
# many are there from the loss, and how many from the gradient norm?

# %% tags=["timing"]
guess = None

if READY.or_show("alarms"):
    alarms = {}
    for name in ("loss", "grad_norm"):
        alarms[name] = {key: [i + 1 for i in spikes(run.values(name))] for key, run in shaken.items()}
        print(f"{name}:", {f"clip {c}, bad batch {b}, seed {s}": at for (c, b, s), at in alarms[name].items() if at})
    totals = {name: sum(map(len, found.values())) for name, found in alarms.items()}
    reveal("alarms, where six are due", totals, guess)
    assert all((50 in at) == (bad == 50) for (_, bad, _), at in alarms["loss"].items()), YOURS
    assert totals["loss"] <= 8, YOURS

# %% [markdown]
# The loss jumps where the data is strange. The gradient norm jumps then too, and at other times: it warns more often,
# and more often of nothing.
#
# With lecture 04's checkpoints the rest is a loop: `SpikeDetector.update` in the training loop, and where it says so,
# back to the last file and on with other batches.
#
# ## 8 · Early dropout's schedule
#
# Liu et al. (arXiv 2303.01500) drop out only at the *start* of training, falling in a straight line to zero: in their
# vision models dropout then lowers the training loss, by making early gradients agree. Is it a trick for language
# models?
#
# $$p(t) = p_0 \max\left(0,\ 1 - \frac{t}{\text{share} \cdot \text{steps}}\right)$$


# %%
def dropout_now(step: int, model: nn.Module) -> dict[str, float]:
    """What the model's dropout is at this step: an observer."""
    return {"dropout": next(part.p for part in model.modules() if isinstance(part, nn.Dropout))}


falling = replace(TRAINING, steps=30, warmup=0, early_dropout=0.2)
if READY.or_show("early dropout"):
    seen = train(MODEL.replace(dropout=0.1), falling, TRAIN, observe=dropout_now).values("dropout")
    print("dropout in the first 8 of 30 steps:", seen[:8].round(4).tolist())
    assert np.allclose(seen, [0.1 * max(0, 1 - t / 6) for t in range(30)]), YOURS

# %% [markdown]
# **Predict.** 100 steps, a small part of an epoch: no dropout, dropout 0.1, or 0.1 falling to 0 over the first fifth?

# %%
guess = None

dropping = MODEL.replace(dropout=0.1)
arms = {
    "no dropout": (MODEL, SHORT),
    "dropout 0.1": (dropping, SHORT),
    "early dropout 0.1": (dropping, replace(SHORT, early_dropout=0.2)),
}
dropouts = compare("05_dropout.json", arms, rates=(1e-3, 3e-3, 1e-2, 3e-2))
print(source("05_dropout.json"))
table(dropouts)
reveal("best", min(arms, key=lambda arm: np.mean(tuned(dropouts, arm))), guess)
early, wide = gap(dropouts, "early dropout 0.1", "no dropout")
assert early > -wide  # no gain from early dropout

# %% [markdown]
# **Early dropout gains nothing here**: its mean lies above that of no dropout, by less than the interval; constant
# dropout costs more, and its interval holds zero too. In one epoch nothing is seen twice, so there is little to protect
# from. H. Liu et al. (2505.24788) measured one-epoch language models of up to 1.4 billion parameters and found early
# dropout *worse* than none. The schedule is in the engine (`early_dropout`) for whoever trains for many epochs; then
# measure.
#
# ## Often said, and what is true
#
# | often said | what is true |
# |---|---|
# | Pre-norm needs no warmup | It survives without; here warmup still lowered its loss, by about 0.1 nats. |
# | Post-norm is the worse model | It is harder to train. In shallow models it can be better (2206.00330); here seeds disagree. |
# | A z-loss of 1e-4 keeps log Z at 0 | Over very many steps. In 100 it moves it by 0.1. |
# | z-loss makes logits small | It moves them down: log Z falls, the largest absolute logit grows. |
# | z-loss comes from ST-MoE | That one is for the router's logits (2202.08906). For the output: PaLM, and T5's code before. |
# | QK-norm comes from ViT-22B | Henry et al. 2020, with unit vectors and a learned scale; ViT-22B has LayerNorm, most language models RMSNorm. |
# | QK-norm improves the loss | It widens the range of learning rates; tuned, a tenth of a nat on three seeds here. |
# | A soft cap cures saturation | It bounds what softmax sees; beyond the cap its own slope vanishes. |
# | Clipping prevents spikes | PaLM clipped and spiked about 20 times. It limits what one batch can do. |
# | Clipping lowers AdamW's learning rate | AdamW does not notice a constant factor; only *uneven* clipping changes its steps. |
# | Spikes are bad data | In PaLM the same batches did no harm from another checkpoint. |
# | Early dropout helps language models | The evidence is for underfitting vision models (2303.01500). In one epoch of language modelling it did harm (2505.24788), see above. |

# %% [markdown]
# ## What you built
#
# `cs336lite.stability`: the slots `ZLoss`, `SoftCappedLoss`, `SoftCappedAttention`, `QKNorm`; the score
# `capped_cross_entropy`; `watch` and `monitor` with `Watched` and `WatchedLoss`; `SpikeDetector` and `spikes`; and the
# formulas `log_z`, `soft_cap`, `penalised_cross_entropy`, `largest_logit`.
#
# ## Limits
#
# - 130,000 to 330,000 parameters, 100 to 150 steps, one corpus of a megabyte, bytes as tokens. Large learning rates
#   stand in for large models, as in 2309.14322; that is a proxy, not the thing.
# - Three seeds give wide intervals; a difference inside its interval is no finding.
# - Validation is 4,096 bytes, the same for all arms: differences are sharper than the losses themselves, which another
#   sample moves by some hundredths.
# - Everything ran in float32. What bfloat16 adds to trouble was measured for the loss alone.
# - A model with `SoftCappedLoss` must be sampled with its cap; `generate` does not know it (the likeliest token is the
#   same).
# - Position schemes that take the place of `attend` (ALiBi, T5, Shaw, Transformer-XL) can be neither watched nor
#   capped.
#
# ## Sources
#
# PaLM (arXiv 2204.02311) · ST-MoE (2202.08906) · ViT-22B (2302.05442) · Henry et al. 2020, QK-norm (2010.04245) ·
# Wortsman et al. 2023, small-scale proxies (2309.14322) · Gemma 2 (2408.00118) · Gemma 3 (2503.19786) · Xiong et al.
# 2020 (2002.04745) · Takase et al. 2022, post-norm in shallow models (2206.00330) · Goyal et al. 2017, warmup
# (1706.02677) · Pascanu et al. 2012, clipping (1211.5063) · Liu et al. 2023, early dropout (2303.01500) · Liu et al.
# 2025, dropout in one epoch (2505.24788).
#
# ## Next
#
# Assignment **a5_moe_router**: the router that sends each token to its experts. Then lecture **06 · mixture of
# experts**: a router is a third softmax, and gets a z-loss of its own.

# %%
finished("05_stability")
