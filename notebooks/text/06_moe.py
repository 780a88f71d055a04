# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: moe, minutes: 1, prerequisites: [04_hyperparameters, a5_moe_router], device: CPU}
# ---

# %% [markdown]
# # 06 · Mixture of experts (混合专家)
#
# **1 minute to run on 2 cores · prerequisites: 04, assignment a5 · device: CPU**
#
# A dense feed-forward network (前馈网络) spends all its parameters on every token. A *mixture of experts* (MoE) has many
# such networks, the *experts* (专家), and a *router* (路由器) that sends each token to a few of them. Parameters and FLOPs
# come apart: Mixtral stores 46.7 billion parameters and computes with 12.9 billion. You will build `cs336lite.moe`, a
# layer for the feed-forward slot of lecture 03 that takes any router, and measure what mixtures give and what they cost.
#
# ## By the end you will have shown
#
# 1. **Published sizes follow from shapes**: 46.7B stored and 12.9B active, and why "8 × 7B" is not 56B.
# 2. **Sorting and grouped products compute what a loop over experts computes**, values and gradients, in less time.
# 3. **The choice of experts has no gradient, the gates do**: the chosen experts' router rows learn from the loss.
# 4. **Left alone, a router overloads a few experts** and starves others; a bias evens out the load (负载均衡), a loss slowly.
# 5. **A capacity drops tokens; expert choice never overloads anybody, but looks into the future.**
# 6. **Hash routing works**, without learning anything: it is ahead of a router that learns, by more than the interval.
# 7. **Reinforcement learning can teach a router**, with a gradient that is noisy where that of the gates is exact; in our
#    language model a hundred steps do not suffice.
# 8. **At equal active FLOPs and this scale nothing separates learned routers from a dense network**: three seeds are too
#    few, and the intervals say so.
# 9. **Experts take characters, not subjects**: what is routed where on real text.
# 10. **Mixtures need expert parallelism (专家并行), not tensor parallelism**: two processes, no matrix divided, one result.
#
# Every claim is followed by a cell that measures it and stops with an error if it is false. Before each measurement there
# is a **Predict**: write your number in place of `None` before you run the cell.

# %% [markdown]
# ## Setup

# %%
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from cs336lite.course import finished, whose
from cs336lite.course.data import technical_text
from cs336lite.course.measure import reveal
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.course.results import recorded, source
from cs336lite.training import Tokens, TrainingConfig, describe, generator, train

# until these are yours, cells that need a router or a model show what our own run has shown
READY = whose("attention", "rope", "router", lecture="06_moe")

YOURS = (
    "this runs on your attention, RoPE and router: "
    "do check('a2_attention'), check('a3_rope') and check('a5_moe_router') pass?"
)


# %% [markdown]
# ## 1 · The layer
#
# For a token $x$ the router has logits $h = W_g x$, one for each expert, and probabilities $p = \text{softmax}(h)$. The
# $k$ experts with the greatest form $T$, and
#
# $$y = \sum_{e \in T} g_e(x)\, E_e(x), \qquad E_e(x) = W^{down}_e \big(\text{SiLU}(W^{gate}_e x) \odot W^{up}_e x\big)$$
#
# The $g_e$ are the token's *gates* (门控). That is assignment a5's `TopKRouter`. Here every router gives such a
# `RouterOutput`: gates and indices, $k$ for each token, the logits and two losses. One convention is new: an index of −1
# is a place that no expert takes.

# %%
#| export
"""Mixture of experts (混合专家) for the feed-forward slot: routers, balancing, capacity, grouped products, all-to-all.

    config.replace(feed_forward=MoE(num_experts=8, top_k=2, d_ff=64))

Shazeer et al. 2017, arXiv 1701.06538; GShard, 2006.16668; Switch, 2101.03961; ST-MoE, 2202.08906. Each router names its own.

Shapes: x is (n, d_model), one row a token. A router is a module that gives a `RouterOutput` for x; gates and indices are
(n, k), k experts for each token. An index of -1 is a place that no expert takes.

Built in notebooks/06_moe.ipynb.
"""

# %%
#| export
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cs336lite.accounting import parameters
from cs336lite.layers import FeedForward
from cs336lite.model import Transformer, TransformerConfig, initialise, make_feed_forward
from cs336lite.router import RouterOutput, TopKRouter
from cs336lite.slots import ActsAfterStep, LeavesLoss, TakesPadding, auxiliary_loss

# %%
torch.manual_seed(0)
torch.set_num_threads(1)  # timings on one core: several threads wait for each other when other programs run

# %% [markdown]
# ### Dispatch: sort, multiply, carry back
#
# Each expert should see its tokens as one matrix. So sort all $n k$ assignments by expert; then the rows of expert 0 come
# first, those of expert 1 next. A *grouped product* (分组矩阵乘) multiplies each group by its own matrix in one call, however
# unequal the groups are. Before there were grouped products, groups were padded to the longest and multiplied as a batch.


# %%
#| export
def sort_by_expert(
    indices: Int[Tensor, "n k"], num_experts: int
) -> tuple[Int[Tensor, " rows"], Int[Tensor, " num_experts"]]:
    """(order, counts): the places of ``indices`` that name an expert, sorted by expert, and how many each has.

    Place p belongs to token p // k.

    >>> order, counts = sort_by_expert(torch.tensor([[2, 0], [0, -1]]), num_experts=3)
    >>> order.tolist(), counts.tolist()
    ([1, 2, 0], [2, 0, 1])
    """
    flat = indices.flatten()
    counts = torch.bincount(flat + 1, minlength=num_experts + 1)  # of -1 first
    return flat.argsort(stable=True)[int(counts[0]) :], counts[1:]


# %%
#| export
def grouped_mm(
    x: Float[Tensor, "rows d_in"], weight: Float[Tensor, "num_experts d_out d_in"], counts: Int[Tensor, " num_experts"]
) -> Float[Tensor, "rows d_out"]:
    """x[r] @ weight[e].T for each row, where the first counts[0] rows belong to expert 0, the next to expert 1, ….

    One call of `torch.nn.functional.grouped_mm`, or `padded_mm` for what that does not take.
    """
    aligned = all(size * x.element_size() % 16 == 0 for size in weight.shape[1:])
    compiles = x.dtype == torch.bfloat16 or not torch.compiler.is_compiling()  # torch 2.13 compiles no other dtype
    if not len(x) or not aligned or not compiles or x.dtype == torch.float64:
        return padded_mm(x, weight, counts)
    return F.grouped_mm(x, weight.transpose(1, 2), offs=counts.cumsum(0, dtype=torch.int32))


def padded_mm(x: Tensor, weight: Tensor, counts: Tensor) -> Float[Tensor, "rows d_out"]:
    """`grouped_mm` as one batched product, every expert's rows filled up with zeros to the longest."""
    lengths = counts.tolist()
    padded = nn.utils.rnn.pad_sequence(x.split(lengths), batch_first=True)
    return torch.cat([rows[:n] for rows, n in zip(padded @ weight.transpose(1, 2), lengths)])


# %%
#| export
class GroupedLinear(nn.Module):
    """``num_experts`` linear layers without bias, in one tensor ``weight`` (num_experts, d_out, d_in)."""

    def __init__(self, num_experts: int, d_in: int, d_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_experts, d_out, d_in))
        nn.init.uniform_(self.weight, -(d_in**-0.5), d_in**-0.5)  # as nn.Linear

    def forward(self, x: Float[Tensor, "rows d_in"], counts: Int[Tensor, " num_experts"]) -> Tensor:
        weight = self.weight
        if torch.is_autocast_enabled(x.device.type):  # which does not know grouped products
            x, weight = (t.to(torch.get_autocast_dtype(x.device.type)) for t in (x, weight))
        return grouped_mm(x, weight, counts)


# %%
#| export
def combine(
    outputs: Float[Tensor, "rows d_model"], weights: Float[Tensor, "n k"], order: Int[Tensor, " rows"], x: Tensor
) -> Float[Tensor, "n d_model"]:
    """Carry the experts' outputs back to their tokens, times their gates; ``order`` as `sort_by_expert` gives it."""
    n, k = weights.shape
    if len(order) < n * k:  # some places are empty
        weighted = outputs * weights.flatten()[order, None]
        return torch.zeros_like(x, dtype=weighted.dtype).index_add(0, order // k, weighted).to(x.dtype)
    place = torch.empty_like(order).index_copy(0, order, torch.arange(len(order), device=order.device))
    outputs = outputs.index_select(0, place).view(n, k, outputs.shape[1])
    return torch.bmm(weights.to(outputs.dtype)[:, None], outputs)[:, 0].to(x.dtype)


# %%
#| export
class Experts(nn.Module):
    """SwiGLU networks (arXiv 2002.05202) side by side: for each token the sum of gate * expert(token)."""

    def __init__(self, num_experts: int, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.num_experts = num_experts
        self.gate, self.up = (GroupedLinear(num_experts, d_model, d_ff) for _ in range(2))
        self.down = GroupedLinear(num_experts, d_ff, d_model)

    def forward(
        self, x: Float[Tensor, "n d_model"], weights: Float[Tensor, "n k"], indices: Int[Tensor, "n k"]
    ) -> Float[Tensor, "n d_model"]:
        order, counts = sort_by_expert(indices, self.num_experts)
        rows = x.index_select(0, order // indices.shape[1])
        return combine(self.compute(rows, counts), weights, order, x)

    def compute(self, rows: Float[Tensor, "rows d_model"], counts: Tensor) -> Float[Tensor, "rows d_model"]:
        """What the experts make of rows that are sorted by expert."""
        return self.down(F.silu(self.gate(rows, counts)) * self.up(rows, counts), counts)

    def expert(self, number: int) -> Callable[[Tensor], Tensor]:
        """One expert as a function of its tokens, (n, d_model) to (n, d_model)."""
        gate, up, down = (part.weight[number] for part in (self.gate, self.up, self.down))
        return lambda x: F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)


# %% [markdown]
# **Predict.** 64 experts, top-2, 2,048 tokens: how many times longer does a loop over the experts take than the sorted
# way, forward and backward? And by how much do the gradients differ?


# %%
def loop(experts: Experts, x: Tensor, weights: Tensor, indices: Tensor) -> Tensor:
    """The same, one expert after another."""
    y = torch.zeros_like(x)
    for number in range(experts.num_experts):
        token, place = torch.where(indices == number)
        y = y.index_add(0, token, experts.expert(number)(x[token]) * weights[token, place, None])
    return y


def gradients(way, experts, x, weights, indices):
    y = way(experts, x, weights, indices)
    return y, *torch.autograd.grad(y, [x, weights, *experts.parameters()], torch.ones_like(y))


n, d = 2_048, 64
x, weights = torch.randn(n, d, requires_grad=True), torch.rand(n, 2, requires_grad=True)
indices = torch.rand(n, 64).argsort(dim=1)[:, :2]
many = Experts(64, d, 64)
different = [
    (a - b).abs().max() / b.abs().max()
    for a, b in zip(gradients(Experts.forward, many, x, weights, indices), gradients(loop, many, x, weights, indices))
]
assert max(different) < 1e-5

# %% tags=["timing"]
guess = None  # (times, relative difference)

taken = {Experts.forward: [], loop: []}
for _ in range(5):  # in turn
    for way, seconds in taken.items():
        start = time.process_time()
        gradients(way, many, x, weights, indices)
        seconds.append(time.process_time() - start)
times = min(taken[loop]) / min(taken[Experts.forward])
reveal("a loop takes longer by", f"{times:.1f} times; gradients differ by {max(different):.0e}", guess)
assert times > 1.3

# %% [markdown]
# A loop that takes `weight[e]` pays more than its many small calls: the gradient of each slice is a tensor of the size of
# *all* experts. `benchmarks/moe.py` compares more ways, at larger sizes, with a dense network of equal active FLOPs.
#
# ### The slot
#
# `MoE` is a configuration that lecture 03's model takes as its `feed_forward`; the layer leaves its auxiliary loss where
# `Transformer.loss` finds it. *Fine-grained* experts (细粒度专家, arXiv 2401.06066) are simply more and smaller ones with a
# larger $k$; *shared* experts (共享专家) see every token. The routers in the table follow.


# %%
#| export
def recomputing() -> bool:
    """Whether a backward pass asked for this forward pass: activation checkpointing computes what it did not keep."""
    return torch._C._current_graph_task_id() != -1  # as torch's own ModuleTracker.is_bw


class _Joined(torch.autograd.Function):
    """``y`` as it is; on the way back ``value`` gets ``gradient``."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.gradient = gradient
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        return gradient, ctx.gradient, None


# %%
#| export
class _Transient(nn.Module):
    """A module that remembers of its last call what is no part of its state: not copied, not pickled."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: x for name, x in self.__dict__.items() if name not in ("auxiliary_loss", "log_probability")}

    def leave(self, name: str, value: Tensor, y: Tensor) -> Tensor:
        """Leave ``value`` for the loss as an attribute; returns ``y``.

        Checkpointing with ``use_reentrant=True`` makes the first pass without a graph. What that pass left collects its
        gradient, and the second pass, which has a graph, hands it on from ``y``. RuntimeError when passes are mixed.
        """
        if recomputing():
            first = getattr(self, name)
            if not first.is_leaf or not first.requires_grad:
                return y
            if first.shape != value.shape or not torch.allclose(first, value, equal_nan=True):
                raise RuntimeError(f"{name} is of another pass: checkpoint with use_reentrant=False")
            return y if first.grad is None else _Joined.apply(y, value, first.grad)
        if self.training and not torch.is_grad_enabled():
            value = value.detach().requires_grad_()
        setattr(self, name, value)
        return y


# %%
#| export
class MoELayer(_Transient, TakesPadding, LeavesLoss):
    """Experts behind a router, and ``shared`` for all tokens if it is given (DeepSeekMoE, arXiv 2401.06066).

    A call leaves ``auxiliary_loss`` = balance * load-balancing loss + z * z-loss, which `Transformer.loss` adds, and
    ``load`` (num_experts,), each expert's share of the tokens' places, below 1 in all where some are dropped. Both, and
    ``capacity``, are of the tokens that pass together: with accumulation or several processes, of each part of the batch.
    """

    def __init__(
        self, router: nn.Module, experts: nn.Module, top_k: int, *, shared: nn.Module | None = None,
        balance: int | float = 0.0, z: int | float = 0.0, capacity: int | float | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if capacity is not None and isinstance(router, ExpertChoiceRouter):
            raise ValueError(f"capacity is {capacity}: not for expert choice, where loads are even anyway")
        self.router, self.experts, self.shared = router, experts, shared
        self.top_k, self.balance, self.z, self.capacity = top_k, balance, z, capacity

    def forward(
        self, x: Float[Tensor, "*batch d_model"], padding: Tensor | None = None
    ) -> Float[Tensor, "*batch d_model"]:
        """``padding`` (batch, seq), boolean, is True where a token is real.

        The others are not routed, count nowhere, and give zeros.
        """
        if padding is not None and (padding.dtype != torch.bool or padding.shape != x.shape[:-1]):
            raise ValueError(f"padding is {padding.dtype} {list(padding.shape)}: give bool {list(x.shape[:-1])}")
        real = x if padding is None else x[padding]
        y = self._mix(real)
        y = y if self.shared is None else y + self.shared(real)
        return y if padding is None else torch.zeros_like(x, dtype=y.dtype).index_put((padding,), y)

    @torch.compiler.disable  # sizes depend on the loads: each new load would be compiled again
    def _mix(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The routed experts' part of the answer."""
        tokens, num_experts = x.reshape(-1, x.shape[-1]), self.experts.num_experts
        routed = self.router(tokens)
        routed = routed if self.capacity is None else with_capacity(routed, num_experts, self.capacity)
        counts = torch.bincount(routed.indices.flatten() + 1, minlength=num_experts + 1)[1:]
        self.load = counts / max(1, len(tokens) * self.top_k)
        y = self.experts(tokens, *routed[:2]).view_as(x)
        auxiliary = self.balance * routed.load_balancing_loss + self.z * routed.z_loss
        return self.leave("auxiliary_loss", auxiliary, y)


# %%
#| export
Make = Callable[["MoE", TransformerConfig], nn.Module]

ROUTERS: dict[str, Make] = {
    "topk": lambda m, c: TopKRouter(c.d_model, m.num_experts, m.top_k, renormalize=m.renormalize),
    "bias": lambda m, c: BiasedRouter(c.d_model, m.num_experts, m.top_k, m.bias_rate),
    "expert_choice": lambda m, c: ExpertChoiceRouter(c.d_model, m.num_experts, m.top_k),
    "hash": lambda m, c: HashRouter(c.vocab_size, m.num_experts, m.top_k),
    "policy": lambda m, c: PolicyRouter(c.d_model, m.num_experts, m.top_k, m.policy_coefficient),
}
"""Routers by name. "hash" and "policy" need a `RoutedTransformer`."""


# %%
#| export
@dataclass(frozen=True, kw_only=True)
class MoE:
    """A mixture of experts for the slot ``feed_forward`` of a `TransformerConfig`."""

    num_experts: int = 8
    top_k: int = 2
    d_ff: int | None = None  # of each expert; None: that of the model
    shared: int = 0  # experts that every token passes, beside top_k others
    router: str | Callable[[int, int, int], nn.Module] = (
        "topk"  # in ROUTERS, or (d_model, num_experts, top_k) -> module
    )
    renormalize: bool = True  # of "topk"
    balance: int | float = 0.01  # times the load-balancing loss, of "topk" and "policy"
    z: int | float = 0.0  # times the router z-loss; ST-MoE takes 0.001
    capacity: int | float | None = None  # times the mean load; None: nobody is dropped
    bias_rate: int | float = 1e-3  # of "bias"
    policy_coefficient: int | float = 0.1  # of "policy"
    dense_layers: int = 0  # so many first blocks keep a dense network; only in a RoutedTransformer

    def __post_init__(self) -> None:
        check_mixture(self)

    def __call__(self, config: TransformerConfig) -> MoELayer:
        layer = make_mixture(self, config)
        if config.feed_forward is self and (self.dense_layers or isinstance(layer.router, PolicyRouter)):
            what = f"dense_layers={self.dense_layers}" if self.dense_layers else "a policy"
            raise ValueError(f"{what} is nothing that a plain Transformer knows: make a RoutedTransformer(config)")
        return layer


# %%
#| export
def check_mixture(m: MoE) -> None:
    """ValueError for a `MoE` that cannot be."""
    if m.router not in ROUTERS if isinstance(m.router, str) else not callable(m.router):
        raise ValueError(f"router is {m.router!r}: give one of {', '.join(ROUTERS)}, or what makes a router")
    for name, least in {"num_experts": 1, "top_k": 1, "d_ff": 1, "shared": 0, "dense_layers": 0}.items():
        value = getattr(m, name)
        if not (isinstance(value, Integral) and value >= least) and not (name == "d_ff" and value is None):
            raise ValueError(f"{name} is {value!r}: give a whole number, at least {least}")
    for name in ("balance", "z", "bias_rate", "policy_coefficient"):
        if not 0 <= getattr(m, name) < math.inf:
            raise ValueError(f"{name} is {getattr(m, name)}: give a number, at least 0")
    if m.top_k > m.num_experts:
        raise ValueError(f"top_k is {m.top_k}, and there are {m.num_experts} experts")
    if m.capacity is not None and (not 0 < m.capacity < math.inf or m.router == "expert_choice"):
        raise ValueError(f"capacity is {m.capacity}: above 0, and not for expert choice, where loads are even anyway")


def make_mixture(m: MoE, config: TransformerConfig) -> MoELayer:
    """The layer that a `MoE` describes, of the sizes of the model."""
    d, d_ff = config.d_model, m.d_ff or config.d_ff
    named = isinstance(m.router, str)
    router = ROUTERS[m.router](m, config) if named else m.router(d, m.num_experts, m.top_k)
    shared = FeedForward(d, m.shared * d_ff) if m.shared else None
    losses = {"balance": m.balance, "z": m.z}
    return MoELayer(router, Experts(m.num_experts, d, d_ff), m.top_k, shared=shared, capacity=m.capacity, **losses)


# %% [markdown]
# ### The routers
#
# `TopKRouter` is a5's. DeepSeek-V3 adds a **bias** to choose, which no gradient touches. With **expert choice** the table
# is read the other way: every expert takes its favourite tokens.


# %%
#| export
class BiasedRouter(ActsAfterStep):
    """Top k of affinity + bias, gates of the affinity alone (DeepSeek-V3: arXiv 2412.19437, section 2.1.2; 2408.15664).

    In training every call counts the load of each expert, once where activation checkpointing computes it again.
    `after_step` then moves the bias by ``rate``: up where the load is below the mean, down where it is above. So the load
    is evened out by a controller, and no loss interferes with that of the model: the load-balancing loss is 0.

    `train` calls `after_step` after each step of the optimizer; a training loop of your own must call it too.
    """

    def __init__(self, d_model: int, num_experts: int, top_k: int, rate: float = 1e-3) -> None:
        super().__init__()
        self.scores, self.rate = TopKRouter(d_model, num_experts, top_k), rate
        self.register_buffer("bias", torch.zeros(num_experts))
        self.counts = torch.zeros(num_experts, dtype=torch.int64)  # since the last step, and of this process alone

    def forward(self, x: Float[Tensor, "n d_model"]) -> RouterOutput:
        scored = self.scores(x)
        affinity = scored.logits.sigmoid()
        indices = (affinity + self.bias).topk(scored.indices.shape[1], dim=-1).indices
        weights = affinity.gather(-1, indices)
        if self.training and not recomputing():
            self.counts = self.counts.to(x.device) + torch.bincount(indices.flatten(), minlength=len(self.bias))
        weights = weights / weights.sum(-1, keepdim=True)
        return scored._replace(weights=weights, indices=indices, load_balancing_loss=weights.new_zeros(()))

    def after_step(self, total: Callable[[Tensor], Tensor] = lambda counts: counts) -> None:
        """Move the bias by what was counted since the last step; ``total`` sums a tensor over all processes."""
        counts = total(self.counts.to(self.bias.device))
        self.bias += self.rate * torch.sign(counts.sum() - len(counts) * counts)
        self.counts = torch.zeros_like(counts)


# %%
#| export
class ExpertChoiceRouter(nn.Module):
    """Each expert takes the n * k / num_experts tokens that it likes most (Zhou et al. 2022, arXiv 2202.09368).

    Every expert has the same load. A token has as many experts as want it, perhaps none. Who is taken depends on all
    tokens that pass together, also on later ones: not for a causal model that must work token by token. So accumulation
    and several processes, which divide a batch, change who is taken.
    """

    def __init__(self, d_model: int, num_experts: int, top_k: int) -> None:
        super().__init__()
        self.scores = TopKRouter(d_model, num_experts, top_k)

    def forward(self, x: Float[Tensor, "n d_model"]) -> RouterOutput:
        """Gates and indices are (n, num_experts)."""
        scored = self.scores(x)
        affinity = scored.logits.softmax(dim=-1)
        share = max(1, scored.indices.numel() // affinity.shape[1])
        taken = affinity.topk(min(share, len(x)), dim=0).indices
        taken = torch.zeros_like(affinity, dtype=torch.bool).scatter(0, taken, True)
        indices = torch.arange(affinity.shape[1], device=x.device).where(taken, -1)
        return scored._replace(weights=affinity, indices=indices, load_balancing_loss=affinity.new_zeros(()))


# %% [markdown]
# **Hash** layers (2106.04426) look the experts up in a random table of token ids. A **policy** draws them, and is told
# afterwards how well that went.


# %%
#| export
class HashRouter(nn.Module):
    """Experts by a random table of token ids, fixed for ever (Hash Layers: Roller et al. 2021, arXiv 2106.04426).

    Nothing is learned. It must be told the ids, ``router.tokens = ids``: `RoutedTransformer` does that.
    """

    def __init__(self, vocab_size: int, num_experts: int, top_k: int, seed: int = 0) -> None:
        super().__init__()
        if not 1 <= top_k <= num_experts:
            raise ValueError(f"top_k is {top_k}, and there are {num_experts} experts")
        drawn = torch.rand(vocab_size, num_experts, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("table", drawn.argsort(dim=-1)[:, :top_k].contiguous())
        self.num_experts, self.tokens = num_experts, None

    def forward(self, x: Float[Tensor, "n d_model"]) -> RouterOutput:
        if self.tokens is None or self.tokens.numel() != len(x):
            raise ValueError("a hash router routes token ids, which a RoutedTransformer gives it")
        indices = self.table[self.tokens.flatten()]
        zero = torch.zeros((), device=x.device)
        weights = torch.full(indices.shape, 1 / indices.shape[1], device=x.device)
        return RouterOutput(weights, indices, zero.expand(len(x), self.num_experts), zero, zero)


# %%
#| export
def log_probability(logits: Float[Tensor, "n experts"], indices: Int[Tensor, "n k"]) -> Float[Tensor, " n"]:
    """Log-probability of drawing these experts in this order from softmax(logits), without replacement.

    >>> log_probability(torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([[1, 0]])).exp()  # 0.3 * 0.5 / 0.7
    tensor([0.2143])
    """
    total, left = torch.zeros_like(logits[:, 0]), logits
    for chosen in indices.unsqueeze(-1).unbind(dim=1):
        total = total + left.log_softmax(dim=-1).gather(-1, chosen).squeeze(-1)
        left = left.scatter(-1, chosen, -math.inf)
    return total


# %%
#| export
class PolicyRouter(_Transient):
    """Experts drawn from softmax(logits), equal gates, so that only REINFORCE teaches it (after RL-R in 2202.01169).

    ``log_probability`` (n,) is that of the last draw; ``coefficient`` is what its loss counts. Greedy outside training.
    """

    def __init__(self, d_model: int, num_experts: int, top_k: int, coefficient: float = 0.1) -> None:
        super().__init__()
        self.scores, self.coefficient = TopKRouter(d_model, num_experts, top_k), coefficient

    def forward(self, x: Float[Tensor, "n d_model"]) -> RouterOutput:
        scored = self.scores(x)
        noise = torch.zeros_like(scored.logits)
        if self.training:  # the k greatest of logits plus Gumbel noise are a draw without replacement
            noise = -torch.empty_like(noise).exponential_().log()
        indices = (scored.logits.detach() + noise).topk(scored.indices.shape[1], dim=-1).indices
        weights = torch.full_like(scored.weights, 1 / indices.shape[1])
        weights = self.leave("log_probability", log_probability(scored.logits, indices), weights)
        return scored._replace(weights=weights, indices=indices)


# %%
#| export
def reinforce(log_probability: Float[Tensor, " n"], rewards: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """A loss whose gradient is an estimate of minus that of the mean reward (Williams 1992); rewards have no gradient.

    Rewards are taken relative to their mean and in units of their deviation, which makes the estimate less noisy. A single
    one, or none, has nothing to be compared with: the loss is 0.
    """
    if len(rewards) < 2:
        return 0 * log_probability.sum()
    rewards = rewards.detach()
    return -(log_probability * (rewards - rewards.mean()) / (rewards.std() + 1e-6)).mean()


# %% [markdown]
# The slot gives a layer hidden vectors and nothing else. Token ids, and the loss of each token, are known to the model. So
# routers that need those live in a `RoutedTransformer`, which is lecture 03's with two methods that tell them.


# %%
#| export
class _DenseFirst(Transformer):
    """The first ``dense_layers`` blocks have a dense network instead of a mixture."""

    def __init__(self, config: TransformerConfig, generator: torch.Generator | None = None) -> None:
        mixture = config.feed_forward
        dense = mixture.dense_layers if isinstance(mixture, MoE) else 0
        if dense > config.num_layers:
            raise ValueError(f"dense_layers is {dense}, and the model has {config.num_layers} blocks")
        made = partial(make_mixture, mixture) if isinstance(mixture, MoE) else mixture
        super().__init__(config.replace(feed_forward=made), generator)
        self.config = config
        for block in self.decoder.blocks[:dense]:
            block.fill(make_feed_forward(config.replace(feed_forward=None)))
        if dense and not self.embedding.weight.is_meta:
            initialise(self, config.init_std, generator)
        if any(isinstance(part, PolicyRouter) for part in (self.encoder or nn.Identity()).modules()):
            raise ValueError("the reward of a policy is the next token, which an encoder lacks: take another router")


# %%
#| export
class RoutedTransformer(_DenseFirst):
    """A Transformer for mixtures that a slot cannot serve alone: its routers may need token ids, or each token's loss.

    It tells a `HashRouter` the ids, adds the REINFORCE loss of each `PolicyRouter`, whose reward is the log-probability
    of the next token, and keeps the decoder's first ``dense_layers`` blocks dense. Otherwise the same as `Transformer`.
    """

    def encode(self, source: Tensor, padding: Tensor | None = None) -> Float[Tensor, "batch source_seq d_model"]:
        _tell(self.encoder, source, padding)
        return super().encode(source, padding)

    def hidden(
        self, tokens: Tensor, *, padding: Tensor | None = None, **given: Any
    ) -> Float[Tensor, "batch seq d_model"]:
        _tell(self.decoder, tokens, padding)
        return super().hidden(tokens, padding=padding, **given)

    def loss(self, tokens: Tensor, targets: Tensor, *, source: Tensor | None = None, **given: Any) -> Float[Tensor, ""]:
        policies = [part for part in self.modules() if isinstance(part, PolicyRouter)]
        if not policies:
            return super().loss(tokens, targets, source=source, **given)
        hidden = self.hidden(tokens, **self._with_context(source, given)).flatten(0, 1)
        targets, routed = targets.flatten(), _real(tokens, given.get("padding"))
        each = F.cross_entropy(self.output(hidden).float(), targets, reduction="none")
        counts = targets != -100
        slot = self.config.loss
        loss = each[counts].mean() if slot is None else slot(hidden, self.output.weight, targets)
        loss = loss + auxiliary_loss(self)
        drawn, rewards = counts[routed], -each[counts & routed]
        return loss + sum(p.coefficient * reinforce(p.log_probability[drawn], rewards) for p in policies)


def _real(tokens: Int[Tensor, "batch seq"], padding: Tensor | None) -> Bool[Tensor, " n"]:
    """Which tokens are no padding; after a cache, ``padding`` begins with tokens that came before these."""
    return (torch.ones_like(tokens) if padding is None else padding[:, -tokens.shape[1] :]).flatten().bool()


def _tell(stack: nn.Module | None, tokens: Tensor, padding: Tensor | None) -> None:
    """Tell the hash routers of a stack the ids that they will route."""
    for part in stack.modules() if stack is not None else ():
        if isinstance(part, HashRouter):
            part.tokens = tokens.flatten()[_real(tokens, padding)]


# %%
#| export
def mixtures(model: nn.Module) -> list[MoELayer]:
    """The mixtures of experts of a model, from the first block to the last."""
    return [part for part in model.modules() if isinstance(part, MoELayer)]


def expert_load(step: int, model: nn.Module) -> dict[str, float]:
    """What `train(observe=…)` records: "load.L.E", the share of the assignments of layer L that expert E got."""
    loads = [layer.load.tolist() for layer in mixtures(model)]
    return {f"load.{i}.{e}": share for i, load in enumerate(loads) for e, share in enumerate(load)}


def total_and_active(model: nn.Module) -> tuple[int, int]:
    """Parameters that a model stores, and those that take part in one token, embeddings included in both."""
    idle = 0
    for layer in mixtures(model):
        one, number = parameters(layer.experts) // layer.experts.num_experts, layer.experts.num_experts
        idle += one * (number - layer.top_k)
    return parameters(model), parameters(model) - idle


# %% [markdown]
# ### What is stored, and what is active
#
# **Predict.** Mixtral 8x7B has 8 experts of Mistral 7B's width. How many billions of parameters are stored, and how many
# take part in one token (top-2)?

# %%
#| export
PRESETS = {
    "mixtral-8x7b": TransformerConfig(  # Jiang et al. 2024, arXiv 2401.04088
        vocab_size=32_000, context_length=32_768, d_model=4_096, num_layers=32, num_heads=32, num_kv_heads=8,
        d_ff=14_336, positions="rope_half", rope_theta=1e6, feed_forward=MoE(num_experts=8, top_k=2),
    ),
    "deepseek-moe-16b": TransformerConfig(  # Dai et al. 2024, arXiv 2401.06066
        vocab_size=102_400, context_length=4_096, d_model=2_048, num_layers=28, num_heads=16, d_ff=10_944,
        positions="rope_half", norm_eps=1e-6, feed_forward=MoE(
            num_experts=64, top_k=6, d_ff=1_408, shared=2, renormalize=False, balance=0.001, dense_layers=1,
        ),
    ),
}  # fmt: skip
"""Mixtures that have names, for `RoutedTransformer`."""

# %%
guess = None  # (billions stored, billions active) of mixtral-8x7b

if READY.or_show("presets"):
    with torch.device("meta"):  # shapes without memory
        found = {name: total_and_active(RoutedTransformer(preset)) for name, preset in PRESETS.items()}
    for name, (total, active) in found.items():
        print(f"{name:<17} {total / 1e9:5.1f}B stored, {active / 1e9:4.1f}B active, {100 * active / total:.0f} %")
    reveal("mixtral-8x7b", tuple(round(x / 1e9, 1) for x in found["mixtral-8x7b"]), guess)
    assert [round(x / 1e9, 1) for pair in found.values() for x in pair] == [46.7, 12.9, 16.4, 2.8], YOURS

# %% [markdown]
# "8 × 7B" would be 56B if everything were there eight times. Only the feed-forward networks are; attention, embeddings and
# norms exist once. Mistral's announcement gives 46.7B and 12.9B, its paper 47B and 13B (2401.04088, section 1); DeepSeek's
# 16.4B and 2.8B are in 2401.06066. A mixture saves **FLOPs, not memory**: all 46.7B must lie somewhere.
#
# ## 2 · What has a gradient
#
# "The router's top-k is not differentiable, so the chosen experts get no gradient through the router." Half of that is so.
# The choice $T$ is a step function of the logits. But $y$ depends on the gates of the chosen, smoothly.
#
# **Predict.** Nudge one token's logits one at a time, 8 experts, top-2, renormalised gates. For how many of the 8 does
# the output move? Does the slope agree with what autograd says?

# %%
guess = None  # logits that matter, of 8


def output(logits: Tensor, value: Tensor) -> Tensor:
    """A number that depends on the gates of one token, whose experts answer with ``value``."""
    chosen = logits.topk(2).indices
    return (F.softmax(logits[chosen], dim=-1) * value[chosen]).sum()


logits, value = torch.randn(8, dtype=torch.float64).requires_grad_(), torch.randn(8, dtype=torch.float64)
slopes = torch.autograd.grad(output(logits, value), logits)[0]
step = 1e-5 * torch.eye(8, dtype=torch.float64)
by_hand = torch.stack([(output(logits + s, value) - output(logits - s, value)) / 2e-5 for s in step]).detach()
reveal("logits with a slope", int((by_hand.abs() > 1e-8).sum()), guess)
assert torch.allclose(slopes, by_hand, atol=1e-8) and set(by_hand.nonzero().flatten().tolist()) == set(
    logits.topk(2).indices.tolist()
)

# %%
if READY.or_show("rows with a gradient"):
    layer = MoE(num_experts=8, top_k=2, d_ff=64, balance=0.0)(
        TransformerConfig(vocab_size=1, context_length=1, d_model=64, num_layers=1, num_heads=1, d_ff=64)
    )
    token = torch.randn(1, 64)
    layer(token).square().sum().backward()
    rows = layer.router.gate.weight.grad.norm(dim=1)
    chosen = sorted(layer.router(token).indices[0].tolist())
    learning = (rows > 1e-4 * rows.max()).nonzero().flatten().tolist()  # others: rounding errors
    print("experts chosen:", chosen, " router rows with a gradient:", learning)
    assert chosen == learning, YOURS

# %% [markdown]
# So the router learns how much to trust the experts it chose, and nothing about the others: had another been better, no
# gradient would tell. What keeps others in the game are noise, balancing, and changing inputs.
#
# ## 3 · Balance
#
# Whoever is chosen learns, and so is chosen again. Shazeer et al. (1701.06538, section 4) saw routers settle on the same
# few experts. Idle experts are parameters without use, and on many devices everybody waits for the busiest. Three cures:
#
# - **A loss** (GShard 2006.16668, Switch 2101.03961): $N \sum_e f_e P_e$, which a5 builds, times about 0.01. Its gradient
#   competes with that of the model. ST-MoE's *router z-loss* (2202.08906) beside it keeps logits small.
# - **A bias** that is used to choose and not in the gates, and moved by a controller (DeepSeek-V3, 2412.19437).
# - **Let experts choose** (2202.09368): each takes its share of the tokens.

# %% [markdown]
# A model to try them on: bytes of technical prose, two blocks, eight experts of width 64 of which a token takes two; so it
# costs what a dense network of width 128 costs, and has four times the parameters there.

# %%
ids = np.frombuffer(technical_text().encode(), np.uint8)  # tokens are bytes: no tokenizer to train
text, heldout = Tokens(ids[:900_000]), Tokens(ids[900_000:])
BASE = TransformerConfig(vocab_size=256, context_length=64, d_model=64, num_layers=2, num_heads=2, d_ff=128)
TRAINING = TrainingConfig(steps=100, batch_size=16, lr=1e-2, warmup=10, eval_batches=16)


def mixture(**changes):
    """The base model with 8 experts, of which each token takes 2: half as wide, so the same FLOPs a token."""
    return BASE.replace(feed_forward=MoE(**{"d_ff": 64, "balance": 0.0, **changes}))


def learn(config, lr=1e-2, seed=0, **options):
    """Train one model of the lecture."""
    model = RoutedTransformer(config, generator(seed, 0, purpose=1))
    training = replace(TRAINING, lr=lr, seed=seed, **options)
    return train(model, training, text, validation=heldout, observe=expert_load, device="cpu")


# %% [markdown]
# **Predict.** After 60 steps without balancing, which share of the tokens' places does the busiest of eight experts have,
# and which the idlest? Even would be 0.125 each.

# %% tags=["timing"]
guess = None  # (busiest, idlest)

WATCHED = {"nothing": mixture(), "loss, 0.01": mixture(balance=0.01), "bias": mixture(router="bias", bias_rate=0.01)}
if READY.or_show("balance"):
    watched = {name: learn(config, steps=60) for name, config in WATCHED.items()}
    loads = {name: np.stack([run.values(f"load.0.{e}") for e in range(8)]) for name, run in watched.items()}
    late = {name: load[:, -15:].mean(axis=1) for name, load in loads.items()}
    for name, load in late.items():
        print(f"{name:<11} busiest {load.max():.2f}, idlest {load.min():.3f}")
    reveal("left alone", [round(float(x), 3) for x in (late["nothing"].max(), late["nothing"].min())], guess)
    assert late["nothing"].max() > 1.3 * late["bias"].max() and late["nothing"].min() < 0.05, YOURS


# %% tags=["timing"]
def heat_map(loads: dict[str, np.ndarray]) -> object:
    """The load of every expert of the first block at every step."""
    title = "Who is asked, step by step; 0.125 is even"
    fig, axs = axes(1, len(loads), title=title, xlabel="step", ylabel="expert (first block)", size=(8.4, 2.7))
    for ax, (name, load) in zip(axs, loads.items()):
        image = ax.imshow(load, aspect="auto", cmap="viridis", vmin=0, vmax=0.5, interpolation="nearest")
        ax.set_title(name)
    fig.colorbar(image, ax=axs, label="share of places")
    return finish(fig)


heat_map(loads) if READY.or_show("heat map") else None

# %% [markdown]
# The same over three seeds and three learning rates, 100 steps, recorded. For each arm the better learning rate counts; ± is
# the 95 % interval of the mean over seeds (Student's *t*). **Predict**: who has the lowest loss?

# %%
BALANCING = {
    "nothing": mixture(),
    "loss, 0.01": mixture(balance=0.01),
    "bias": mixture(router="bias", bias_rate=0.01),
    "expert choice": mixture(router="expert_choice"),
    "15 + 1 shared": mixture(num_experts=15, top_k=3, d_ff=32, shared=1, balance=0.01),
}
LRS, SEEDS = (5e-3, 1e-2, 2e-2), range(3)


def compare(arms, lrs=LRS, **options):
    """All arms on the same grid of learning rates and seeds: validation loss, training loss by steps, late loads."""
    rows = []
    for name, lr, seed in ((name, lr, seed) for name in arms for lr in lrs for seed in SEEDS):
        run = learn(arms[name], lr, seed, **options)
        late = {key: float(run.values(key)[-20:].mean()) for key in run.metrics[0] if key.startswith("load.0.")}
        curve = run.values("loss").reshape(-1, 10).mean(axis=1).round(4).tolist()
        rows.append({"arm": name, "lr": lr, "seed": seed, "final": run.final, "loss": curve, "load": [*late.values()]})
    return rows


# %%
def best(rows: list[dict], arm: str) -> tuple[float, list[dict]]:
    """The learning rate with the lowest mean loss, and the runs with it."""
    groups = {lr: [r for r in rows if r["arm"] == arm and r["lr"] == lr] for lr in sorted({r["lr"] for r in rows})}
    lr = min(groups, key=lambda lr: np.mean([r["final"] for r in groups[lr]]))
    return lr, groups[lr]


def mean(runs: list[dict]) -> tuple[float, float]:
    """Mean of the final losses and half of its 95 % interval; 4.303 is Student's t for three runs."""
    final = [r["final"] for r in runs]
    return float(np.mean(final)), 4.303 * float(np.std(final, ddof=1)) / len(final) ** 0.5


def table(rows: list[dict]) -> dict[str, tuple[float, float]]:
    """Print a line for each arm; its mean and interval."""
    found = {}
    for arm in dict.fromkeys(r["arm"] for r in rows):
        lr, runs = best(rows, arm)
        found[arm] = mean(runs)
        load = np.array([r["load"] for r in runs])
        told = f"   busiest {load.max(1).mean():.2f}, idlest {load.min(1).mean():.3f}" if load.size else ""
        print(f"{arm:<14} {found[arm][0]:.3f} ± {found[arm][1]:.3f}  lr {lr:g}{told}")
    return found


# %%
guess = None  # the arm with the lowest loss

SAID = describe([TRAINING, list(LRS), list(SEEDS)])
rows = recorded("06_balancing.json", lambda: compare(BALANCING), [SAID, describe(BALANCING)])
print(source("06_balancing.json"), end="\n\n")
balancing = table(rows)
reveal("lowest loss", min(balancing, key=lambda arm: balancing[arm][0]), guess)
load = {arm: np.array([r["load"] for r in best(rows, arm)[1]]) for arm in BALANCING}
assert load["nothing"].max(1).mean() > 2 * load["bias"].max(1).mean()
assert load["nothing"].min(1).mean() < 0.01 < 0.08 < load["bias"].min(1).mean()
assert all(abs(x - balancing["nothing"][0]) < 0.1 for x, _ in balancing.values())

# %% [markdown]
# The loads do what was promised; the losses do not tell the arms apart: their intervals overlap. So at this scale balance
# is free and buys no quality. What it buys is that no expert idles, which matters when experts live on different devices
# (section 6). And the loss at 0.01 needs longer than 100 steps to wake an expert that was idle from the start, since an
# expert with no tokens has $f_e = 0$: the loss only pushes the others down.
#
# ### Capacity
#
# Hardware likes fixed shapes, so GShard and Switch give each expert a *capacity* (容量) of $c \cdot n k / N$ tokens. Who
# comes when the expert is full is dropped: only the residual stream carries it on.


# %%
#| export
def with_capacity(routed: RouterOutput, num_experts: int, factor: int | float) -> RouterOutput:
    """The same with no more than ceil(factor * n * k / num_experts) tokens for an expert (GShard, 2006.16668).

    Who comes later in the batch is dropped, so that no token's fate depends on those after it in its text. ValueError for
    a factor that is not above 0.
    """
    if not 0 < factor < math.inf:
        raise ValueError(f"capacity is {factor}: give a number above 0, or None to drop nobody")
    flat = routed.indices.flatten()
    limit = math.ceil(factor * len(flat) / num_experts)
    order, counts = sort_by_expert(routed.indices, num_experts)
    before = torch.arange(len(order), device=flat.device) - (counts.cumsum(0) - counts)[flat[order]]
    return routed._replace(indices=flat.index_fill(0, order[before >= limit], -1).view_as(routed.indices))


# %% [markdown]
# **Predict.** With $c = 1$, which share of the assignments is dropped in the model that was left alone, and in the one with
# the loss? How much does $c = 2$ help?

# %% tags=["timing"]
guess = None  # (left alone, with the loss) at c = 1

if READY.or_show("dropped"):
    inputs, _ = heldout.batch(16, 64, generator(0, 0))
    lost = {}
    for name, run in watched.items():
        for factor in (1.0, 1.25, 2.0):
            for layer in mixtures(run.model):
                layer.capacity = factor
            with torch.no_grad():
                run.model.eval()(inputs)
            lost[name, factor] = 1 - np.mean([layer.load.sum().item() for layer in mixtures(run.model)])
        for layer in mixtures(run.model):
            layer.capacity = None
        print(f"{name:<11} dropped: " + ", ".join(f"{100 * lost[name, c]:.0f} % at {c:g}" for c in (1.0, 1.25, 2.0)))
    reveal("at c = 1", [f"{lost[name, 1.0]:.2f}" for name in ("nothing", "loss, 0.01")], guess)
    assert lost["nothing", 1.0] > lost["bias", 1.0] > lost["bias", 2.0] and lost["nothing", 1.0] > 0.2, YOURS

# %% [markdown]
# Our layer drops nobody unless you ask: a grouped product does not need equal groups.
#
# ### Expert choice sees the future
#
# Loads are even by construction. But whether a token is among an expert's favourites depends on the other tokens, those
# that follow it too. **Predict**: change only the last character of a text; do the logits of the first characters move?

# %%
guess = None

if READY.or_show("the future"):
    moved = {}
    for name in ("topk", "expert_choice"):
        torch.manual_seed(0)
        model = RoutedTransformer(mixture(router=name), generator(0, 0)).eval()
        one = torch.tensor([list(b"the experts look at all tokens together")])
        other = torch.cat((one[:, :-1], one[:, -1:] + 1), dim=1)
        moved[name] = (model(one) - model(other))[:, :-1].abs().max().item()
        print(f"{name:<14} logits before the change move by {moved[name]:.1e}")
    reveal("expert choice moves earlier logits", moved["expert_choice"] > 1e-3, guess)
    assert moved["topk"] < 1e-5 < 1e-4 < moved["expert_choice"], YOURS

# %% [markdown]
# So its validation loss above is not that of a model that writes: it was computed with whole texts in view. Zhou et al.
# say so among their limitations (2202.09368).
#
# ## 4 · Hash routing and reinforcement learning
#
# Must a router learn at all? Hash layers do not, and nobody has to keep them in balance.
#
# And selection without gradients is what reinforcement learning (强化学习) is for: draw experts from the router's probabilities,
# look at the reward, here the log-probability of the right next token, and make rewarded draws more likely (REINFORCE,
# Williams 1992; for routers Bengio et al. 2015, 1511.06297; Clark et al. 2022, 2202.01169):
#
# $$\nabla\, \mathbb{E}[R] = \mathbb{E}\big[(R - b)\, \nabla \log \pi(T \mid x)\big]$$
#
# Our policy has equal gates, so that nothing but rewards teaches it. First a small task where it matters who is asked: tokens come from four clouds, and each cloud has its own matrix to
# learn. **Predict.** After 150 steps, order these by error: gates (top-1), REINFORCE, and drawing at random for ever.


# %%
CLOUDS = TransformerConfig(vocab_size=1, context_length=1, d_model=16, num_layers=1, num_heads=1, d_ff=16)
MODES = {
    "gates": MoE(num_experts=4, top_k=1, renormalize=False, balance=0.01),
    "REINFORCE": MoE(num_experts=4, top_k=1, router="policy", balance=0.01),
    "random": MoE(num_experts=4, top_k=1, router="policy", policy_coefficient=0.0, balance=0.0),
}


def task(seed: int, steps: int):
    """Batches (x, y) of tokens from four clouds, y = the cloud's matrix times x."""
    g = torch.Generator().manual_seed(seed)
    centres, matrices = 2 * torch.randn(4, 16, generator=g), torch.randn(4, 16, 16, generator=g) / 4
    for _ in range(steps):
        cloud = torch.randint(4, (128,), generator=g)
        x = centres[cloud] + 0.5 * torch.randn(128, 16, generator=g)
        yield x, torch.einsum("nd,ned->ne", x, matrices[cloud])


def errors_and_loss(layer: MoELayer, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    each = (layer(x) - y).square().mean(dim=1)
    loss = each.mean() + layer.auxiliary_loss
    if isinstance(layer.router, PolicyRouter):
        loss = loss + layer.router.coefficient * reinforce(layer.router.log_probability, -each)
    return each, loss


# %% tags=["timing"]
guess = None  # best to worst

if READY.or_show("four ways to route"):
    curves, layers = {}, {}
    for name, seed in ((name, seed) for name in MODES for seed in range(3)):
        torch.manual_seed(seed)
        layer = layers[name] = MODES[name](CLOUDS)
        adam, curve = torch.optim.Adam(layer.parameters(), lr=1e-2), curves.setdefault((name, seed), [])
        for x, y in task(seed, 150):
            each, loss = errors_and_loss(layer, x, y)
            adam.zero_grad()
            loss.backward()
            adam.step()
            curve.append(each.mean().item())
    final = {name: np.mean([np.mean(curves[name, s][-20:]) for s in range(3)]) for name in MODES}
    reveal("errors", {name: round(float(e), 3) for name, e in final.items()}, guess)
    assert final["REINFORCE"] < 0.8 * final["random"] and final["gates"] < 0.9 * final["random"], YOURS

# %% [markdown]
# Rewards teach a router. What they cost is noise: one batch gives another gradient with each draw, while the gates'
# gradient of a batch is exact. **Predict**: fifty draws for one batch; how large is the deviation of the router's
# gradient, as a multiple of its mean?

# %% tags=["timing"]
guess = None  # deviation / mean, for REINFORCE

if READY.or_show("noise of REINFORCE"):
    noise = {}
    x, y = next(task(9, 1))
    for name in ("gates", "REINFORCE"):
        torch.manual_seed(0)
        layer = MODES[name](CLOUDS)
        gate = next(p for n, p in layer.router.named_parameters() if n.endswith("gate.weight"))
        draws = torch.stack([torch.autograd.grad(errors_and_loss(layer, x, y)[1], gate)[0] for _ in range(50)])
        noise[name] = ((draws - draws.mean(0)).square().sum().div(50).sqrt() / draws.mean(0).norm()).item()
    reveal("deviation of the gradient / its mean", {n: round(v, 2) for n, v in noise.items()}, guess)
    print(f"to bring it to 0.1 takes {(noise['REINFORCE'] / 0.1) ** 2:.0f} times the tokens")
    assert noise["gates"] < 1e-4 and noise["REINFORCE"] > 0.3, YOURS

# %% [markdown]
# Now the language model. All arms cost the same active FLOPs, except the dense network of width 512, which has as many
# parameters as eight experts and costs four times as much there. *Random* draws from a router that is never taught.
#
# **Predict.** Order by loss: dense, hash, random, policy, and the learned routers above.

# %%
guess = None  # best to worst

ROUTING = {
    "dense, 128": BASE,
    "dense, 512": BASE.replace(d_ff=512),
    "hash": mixture(router="hash"),
    "random": mixture(router="policy", policy_coefficient=0.0),
    "policy": mixture(router="policy", balance=0.01),
}
others = recorded("06_routing.json", lambda: compare(ROUTING), [SAID, describe(ROUTING)])
print(source("06_routing.json"), end="\n\n")
routing = table(others)
reveal("best to worst", sorted(balancing | routing, key=lambda arm: (balancing | routing)[arm][0]), guess)

# %% [markdown]
# Three seeds are few, and a seed that is hard is hard for all: it draws the batches. So compare arms seed by seed.


# %%
def gains(rows: list[dict], *pairs: tuple[str, str]) -> dict[tuple[str, str], tuple[float, float]]:
    """How much lower the loss of the second arm is than that of the first, seed by seed: mean and half an interval."""
    found = {}
    for a, b in pairs:
        difference = np.subtract(*([r["final"] for r in best(rows, arm)[1]] for arm in (a, b)))
        found[a, b] = float(difference.mean()), 4.303 * float(difference.std(ddof=1)) / 3**0.5
        print(f"{b:<14} is better than {a:<11} by {found[a, b][0]:+.3f} ± {found[a, b][1]:.3f}")
    return found


every = rows + others
pairs = [("dense, 128", "hash"), ("nothing", "hash"), ("dense, 512", "hash"), ("dense, 128", "nothing")]
gained = gains(every, *pairs, ("dense, 128", "15 + 1 shared"), ("random", "nothing"), ("random", "policy"))
certain = {pair for pair, (middle, half) in gained.items() if abs(middle) > half}
assert certain == {("nothing", "hash")} and gained["nothing", "hash"][0] > 0

# %%
fig, ax = axes(xlabel="validation loss (nats per byte)", ylabel="feed-forward network", size=(6.6, 3.6))
found = dict(sorted((balancing | routing).items(), key=lambda item: -item[1][0]))
names = [f"{name} *" if name in ("dense, 512", "expert choice") else name for name in found]
colors = ["blue" if name in ROUTING and "dense" in name else "vermillion" for name in found]
for i, ((middle, half), color) in enumerate(zip(found.values(), colors)):
    ax.errorbar(middle, i, xerr=half, fmt="o", color=COLORS[color], capsize=3)
    ax.plot([r["final"] for r in best(every, list(found)[i])[1]], [i] * 3, "|", color=COLORS["black"])
ax.set(yticks=range(len(names)), yticklabels=names, title="Mixtures (red) and dense networks (blue) after 100 steps")
finish(fig)

# %% [markdown]
# `*` no fair comparison: four times the FLOPs, or a look at the future. Bars are 95 % intervals, strokes single runs.
#
# Is a hundred steps too short for a router to learn? The same arms at 300 steps, learning rate 0.005 for all. **Predict**:
# who has moved up?

# %%
guess = None

LONGER = ("hash", "dense, 128", "random", "nothing", "bias")
ARMS = {name: (BALANCING | ROUTING)[name] for name in LONGER}
longer = recorded("06_longer.json", lambda: compare(ARMS, [5e-3], steps=300), [SAID, describe(ARMS), 300])
print(source("06_longer.json"), end="\n\n")
found = table(longer)
reveal("best to worst", sorted(found, key=lambda arm: found[arm][0]), guess)
later = gains(longer, ("dense, 128", "hash"), ("nothing", "hash"), ("dense, 128", "nothing"), ("random", "nothing"))
certain = {pair for pair, (middle, half) in later.items() if middle > half}
assert certain == {("nothing", "hash")}

# %% [markdown]
# What this says, of models of this size, on bytes:
#
# - **Hash routing works.** It is better than the router that learns, after 100 steps and after 300. After 300 it is ahead
#   of the dense network of equal active FLOPs with every seed, by so different amounts that the interval holds zero. After
#   100 steps nothing tells it from the dense one that costs four times as much.
# - **What gates learn does not show yet**: the learned router is ahead of drawing at random, within the interval, after 100
#   steps and after 300. The gains of the papers are at larger sizes and longer training (2101.03961). A likely reason: a
#   table gives every expert its tokens from the first step on, while a router is still moving.
# - **Nor does what rewards teach**: the policy is ahead of drawing at random by no more than the interval. Reinforcement
#   learning works for routers, in the small task above, and is the expensive way.
#
# ## 5 · What experts take
#
# Mixtral's authors looked for experts of subjects and found none; its experts follow syntax and the token itself
# (2401.04088, section 5). We ask how much the first expert of a token tells about the token: their *mutual information*
# (互信息), in bits. With eight experts it cannot exceed 3. **Predict** it, for both blocks.


# %%
def first_experts(model: torch.nn.Module, inputs: Tensor) -> list[Tensor]:
    """For each mixture, the expert with the greatest gate of every token."""
    seen = []
    hooks = [m.router.register_forward_hook(lambda *a: seen.append(a[2].indices[:, 0])) for m in mixtures(model)]
    with torch.no_grad():
        model.eval()(inputs)
    for hook in hooks:
        hook.remove()
    return seen


def information(token: Tensor, expert: Tensor) -> float:
    """Mutual information of two rows of small numbers, in bits."""
    joint = torch.bincount(token * 8 + expert, minlength=256 * 8).view(256, 8).double() / len(token)
    independent = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return (joint * (joint / independent).log2().nan_to_num(0, 0, 0)).sum().item()


# %% tags=["timing"]
guess = None  # (first block, second block), bits

if READY.or_show("what experts know"):
    inputs, _ = heldout.batch(128, 64, generator(0, 1))
    token, experts = inputs.flatten(), first_experts(watched["bias"].model, inputs)
    bits, entropy = [information(token, e) for e in experts], [information(e, e) for e in experts]
    chance = information(token, experts[0][torch.randperm(len(token))])
    reveal("bits about the token", [f"{b:.2f} of {h:.2f}" for b, h in zip(bits, entropy)], guess)
    print(f"by chance {chance:.2f}")
    assert min(bits) > 3 * chance and bits[0] > 1, YOURS
    for number in range(8):
        taken, all_ = (torch.bincount(t, minlength=256).double() for t in (token[experts[0] == number], token))
        often = [c for c in taken.argsort(descending=True)[:12].tolist() if taken[c] > 0.5 * all_[c]]
        share = taken.sum() / len(token)
        print(f"expert {number}, {100 * share:4.1f} % of the text, has most of:", " ".join(repr(chr(c)) for c in often))

# %% [markdown]
# The characters that an expert *has most of* go to it more often than to all others together: vowels here, the space or
# punctuation there. Most of what there is to know about the expert (*of*: its entropy) the character tells, in the first
# block more than in the second. So a hash of the character is not far from what is learned.
#
# ## 6 · Many devices
#
# "Mixtures need tensor parallelism" (张量并行), which divides every matrix. They do not: whole experts can be divided. Each
# process keeps its experts and its tokens; tokens travel to their experts and back by *all-to-all* (全交换, GShard
# 2006.16668). That pays when a layer's experts do not fit on one device, or when each would see too few tokens to be busy;
# it costs two exchanges a layer each way, and whoever holds the busiest expert makes all others wait.


# %%
#| export
class _AllToAll(torch.autograd.Function):
    """Send the first sent[0] rows to process 0, the next to process 1, …; what they sent here, in their order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sent: list[int], received: list[int], group: Any) -> Tensor:
        ctx.way_back = received, sent, group
        arrived = x.new_empty(sum(received), *x.shape[1:])
        dist.all_to_all_single(arrived, x.contiguous(), received, sent, group=group)
        return arrived

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _AllToAll.apply(gradient, *ctx.way_back), None, None, None


# %%
#| export
class _Share(nn.Module):
    """This process's experts of a layer: ``local``, some of them, whole."""

    def __init__(self, experts: Experts, group: Any = None) -> None:
        super().__init__()
        rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self.num_experts, self.group = experts.num_experts, group
        if self.num_experts % self.size:
            raise ValueError(f"{self.num_experts} experts do not divide among {self.size} processes")
        _, d_ff, d_model = experts.gate.weight.shape
        self.local = Experts(self.num_experts // self.size, d_model, d_ff)
        for name, weight in experts.state_dict().items():
            self.local.get_parameter(name).data = weight.chunk(self.size)[rank].clone()


# %%
#| export
class ExpertParallel(_Share):
    """The experts of a layer, divided among processes (专家并行): each holds some of them, whole, and its own tokens.

    Tokens travel to their experts and back by all-to-all (GShard, arXiv 2006.16668). Every process routes its own tokens
    with its own copy of the router. ValueError unless the processes divide the experts evenly.
    """

    def forward(self, x: Tensor, weights: Tensor, indices: Tensor) -> Float[Tensor, "n d_model"]:
        order, counts = sort_by_expert(indices, self.num_experts)
        rows = x.index_select(0, order // indices.shape[1])
        even = [self.local.num_experts] * self.size
        theirs = _AllToAll.apply(counts, even, even, self.group)
        counts, theirs = counts.view(self.size, -1), theirs.view(self.size, -1)  # (process, expert)
        sent, received = counts.sum(dim=1).tolist(), theirs.sum(dim=1).tolist()
        arrived = _AllToAll.apply(rows, sent, received, self.group)
        expert = torch.arange(theirs.shape[1], device=x.device).repeat(self.size).repeat_interleave(theirs.flatten())
        by_expert = expert.argsort(stable=True)
        outputs = self.local.compute(arrived.index_select(0, by_expert), theirs.sum(dim=0))
        outputs = outputs.index_select(0, by_expert.argsort())
        return combine(_AllToAll.apply(outputs, received, sent, self.group), weights, order, x)


# %% [markdown]
# **Predict.** Two processes, four experts each, 24 tokens each. Is any matrix divided? How far are outputs and gradients
# from those of one process?

# %%
SCRIPT = """
import sys, torch, torch.distributed as dist
from cs336lite.moe import ExpertParallel, Experts

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
state, x, weights, indices = torch.load(f"{folder}/given.pt")
experts, mine = Experts(8, 16, 24), slice(24 * rank, 24 * rank + 24)
experts.load_state_dict(state)
parallel = ExpertParallel(experts)
y = parallel(x[mine], weights[mine], indices[mine])
y.sum().backward()
torch.save((y.detach(), [p.grad for p in parallel.local.parameters()]), f"{folder}/{rank}.pt")
dist.destroy_process_group()
"""

# %% tags=["timing"]
guess = None

whole, x, weights = Experts(8, 16, 24), torch.randn(48, 16), torch.rand(48, 2)
indices = torch.rand(48, 8).argsort(dim=1)[:, :2]
with tempfile.TemporaryDirectory() as folder:
    Path(folder, "two.py").write_text(SCRIPT)
    torch.save((whole.state_dict(), x, weights, indices), Path(folder, "given.pt"))
    command = [sys.executable, str(Path(folder, "two.py"))]
    running = [subprocess.Popen([*command, str(rank), folder]) for rank in range(2)]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    halves = [torch.load(Path(folder, f"{rank}.pt")) for rank in range(2)]
y = whole(x, weights, indices)
y.sum().backward()
apart = (torch.cat([half[0] for half in halves]) - y).abs().max().item()
for number, p in enumerate(whole.parameters()):
    apart = max(apart, (torch.cat([half[1][number] for half in halves]) - p.grad).abs().max().item())
print("gradient of one process's gate matrices:", tuple(halves[0][1][0].shape), "of", tuple(whole.gate.weight.shape))
reveal("largest difference to one process", f"{apart:.0e}", guess)
assert apart < 1e-4 and halves[0][1][0].shape[1:] == whole.gate.weight.shape[1:]

# %% [markdown]
# Four whole experts each. (The two ways do combine: tensor parallelism inside experts that are too large for one device.)
#
# ## Often said, and what is true
#
# | often said | what is true |
# |---|---|
# | MoE needs tensor parallelism | Expert parallelism: whole experts on different devices, measured above. |
# | The chosen experts get no gradient through the router | The *choice* has none. The gates of the chosen have, measured above; those that were not chosen get none. |
# | Mixtral 8x7B has 56B parameters | 46.7B: attention and embeddings exist once. |
# | A mixture is a cheap model | Cheap in FLOPs. All experts must be in memory, and one sequence at a time touches few tokens an expert. |
# | Experts are specialists for subjects | For tokens and syntax, as far as anybody has looked; above, for characters. |
# | Balancing improves the loss | Loads, yes; the loss of the model not measurably here: see the table. |
# | Balancing needs an auxiliary loss | A bias that a controller moves does it (2408.15664). |
# | Expert choice solves balancing | For models that see the whole text; a causal one looks into the future. |
# | A learned router beats a random table | Not here, measured above; at larger sizes hashing was competitive with Switch and BASE or better (2106.04426). |

# %% [markdown]
# ## What you built
#
# `cs336lite.moe`: `MoE`, the configuration for the slot, and its `MoELayer`; `Experts` with `sort_by_expert`, `grouped_mm`,
# `padded_mm`, `combine`; `BiasedRouter`, `ExpertChoiceRouter`, `HashRouter`, `PolicyRouter` beside a5's `TopKRouter`;
# `with_capacity`, `reinforce`; `RoutedTransformer` for routers that need token ids or losses; `expert_load`,
# `total_and_active`, `PRESETS`; `ExpertParallel`.
#
# ## Limits
#
# - Our models are tiny, train for seconds, and read bytes. The advantage of mixtures in the literature (2101.03961,
#   2202.01169) is at sizes and lengths that no laptop reaches; the tables above are about this scale only.
# - The policy's reward is each token's own loss, though its choice also moves later tokens; its baseline is a batch mean.
#   Clark et al. use a learned one.
# - `ExpertParallel` has no capacity, waits for each exchange, and leaves data parallelism to you: gradients of routers and
#   all else must be averaged over processes, those of experts must not. Each process's balancing loss is of its own tokens.
# - `sort_by_expert` reads once a layer how many places are empty; on a GPU that is a synchronisation.
# - A balancing loss, a capacity, expert choice and a policy's baseline are of the tokens that pass together. With
#   accumulation or several processes each part of a batch has its own; the bias alone is of the whole batch.
#
# ## Sources
#
# Shazeer et al. 2017 (arXiv 1701.06538) · GShard (2006.16668) · Switch (2101.03961) · Hash Layers (2106.04426) · ST-MoE
# (2202.08906) · Expert choice (2202.09368) · Clark et al. 2022 (2202.01169) · Bengio et al. 2015 (1511.06297) · Williams,
# *Machine Learning* 8, 1992 · Mixtral (2401.04088) · DeepSeekMoE (2401.06066) · Loss-free balancing (2408.15664) ·
# DeepSeek-V3 (2412.19437).
#
# ## Next
#
# Lecture **07 · GPU kernels**: what happens inside the products that this one has grouped.

# %%
finished("06_moe")
