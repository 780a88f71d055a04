# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: moe, minutes: 1, prerequisites: [04_hyperparameters, a5_moe_router], device: CPU}
# ---

# %% [markdown]
# # 06x · Mixtures for the feed-forward slot (appendix of lecture 06)
#
# {badge} · prerequisites: 04, a5 (router) · device: CPU
#
# [Lecture 06](../06_moe.ipynb) explains mixtures of experts (混合专家) and measures them. This appendix builds what it
# measures with, `cs336lite.moe`: experts as grouped products, a layer for the slot of lecture 03 that takes any
# router, five routers, capacity, a model for routers that must know token ids or losses, published presets, and
# experts divided among processes. It can be read before the lecture or after it.

# %%
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cs336lite.course import whose
from cs336lite.course.measure import reveal

READY = whose("attention", "rope", "router", lecture="06x_mixtures")
YOURS = (
    "this runs on your attention, RoPE and router: "
    "do check('a2_attention'), check('a3_rope') and check('a5_moe_router') pass?"
)

# %% folded=true
#| export
"""Mixture of experts (混合专家) for the feed-forward slot: routers, balancing, capacity, grouped products, all-to-all.

    config.replace(feed_forward=MoE(num_experts=8, top_k=2, d_ff=64))

Shazeer et al. 2017, arXiv 1701.06538; GShard, 2006.16668; Switch, 2101.03961; ST-MoE, 2202.08906. Each router names its own.

Shapes: x is (n, d_model), one row a token. A router is a module that gives a `RouterOutput` for x; gates and indices are
(n, k), k experts for each token. An index of -1 is a place that no expert takes.

Built in notebooks/appendix/06x_mixtures.ipynb.
"""

# %% folded=true
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
# ## 1 · Sort, multiply, carry back
#
# Each expert should see its tokens as one matrix. So sort all $n k$ assignments by expert; then the rows of expert 0 come
# first, those of expert 1 next. An index of −1 is a place that no expert takes.


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


# %% [markdown]
# A *grouped product* (分组矩阵乘) multiplies each group by its own matrix in one call, however unequal the groups are.
# Before there were such calls, GShard and Switch filled every group up to a fixed capacity and dropped the rest, most
# PyTorch code looped over the experts, and MegaBlocks (arXiv 2211.15841) wrote block-sparse products that need
# neither. `F.grouped_mm` does not take every shape and type; `padded_mm` is for the others.


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


# %% [markdown]
# Outputs return to their tokens times their gates. Where every place is taken, each token has exactly $k$ rows, and a
# small product per token adds them; where places are empty, rows are added one by one.


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


# %% folded=true
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
# way, forward and backward?


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
guess = None

taken = {Experts.forward: [], loop: []}
for _ in range(5):  # in turn
    for way, seconds in taken.items():
        start = time.process_time()
        gradients(way, many, x, weights, indices)
        seconds.append(time.process_time() - start)
times = min(taken[loop]) / min(taken[Experts.forward])
reveal("times longer", times, guess, shown=f"{times:.1f}", within=1.5)
print(f"outputs and gradients differ by {max(different):.0e} of the largest entry")
assert times > 1.1

# %% [markdown]
# A loop that takes `weight[e]` pays more than its many small calls: the gradient of each slice is a tensor of the
# size of *all* experts. So `unbind` would be a fairer loop; the full repository's `benchmarks/moe.py` compares more
# ways, at larger sizes, with a dense network of equal active FLOPs.
#
# ## 2 · The layer and the slot
#
# `MoE` is a configuration that lecture 03's model takes as its `feed_forward`; the layer leaves its auxiliary loss
# where `Transformer.loss` finds it. The three helpers are for activation checkpointing (激活重计算), which runs a forward
# pass twice: what is left for the loss must be left once, and must get its gradient.


# %% folded=true
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


# %% folded=true
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


# %% [markdown]
# The layer routes real tokens only, cuts to capacity if it is asked to, and counts loads. `torch.compile` leaves it
# alone, since the shapes depend on the loads.

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


# %% folded=true
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
# ## 3 · Routers
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
# **Hash** layers look the experts up in a random table of token ids. A **policy** draws them, and is told afterwards
# how well that went.


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
# The controller by hand: loads (4, 1, 1) have the mean 2, so the biases move by (−rate, +rate, +rate), however far
# the loads are from it.
#
# ## 4 · A model that tells its routers
#
# The slot gives a layer hidden vectors and nothing else. Token ids, and the loss of each token, are known to the model. So
# routers that need those live in a `RoutedTransformer`, which is lecture 03's with two methods that tell them.


# %% folded=true
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


# %% folded=true
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
# A token's second choice comes before the next token's first one in this order. GShard and Switch place all first
# choices before all second ones (2006.16668, algorithm 1), so that a first choice is never dropped for a second; our
# order has the property that a token's fate depends on no later token of its text.
#
# ### Expert choice sees the future
#
# **Predict.** Change only the last character of a text. By how much do the logits of the characters before it move
# with expert choice, at the most?

# %%
guess = None

SMALL = TransformerConfig(vocab_size=256, context_length=64, d_model=32, num_layers=2, num_heads=2, d_ff=64)
if READY.or_show("the future"):
    moved = {}
    for name in ("topk", "expert_choice"):
        torch.manual_seed(0)
        model = RoutedTransformer(SMALL.replace(feed_forward=MoE(router=name)), torch.Generator().manual_seed(0)).eval()
        one = torch.tensor([list(b"the experts look at all tokens together")])
        other = torch.cat((one[:, :-1], one[:, -1:] + 1), dim=1)
        moved[name] = (model(one) - model(other))[:, :-1].abs().max().item()
    reveal("expert choice", moved["expert_choice"], guess, shown=f"{moved['expert_choice']:.0e}", within=10)
    print(f"top-k: {moved['topk']:.0e}")
    assert moved["topk"] < 1e-5 < 1e-4 < moved["expert_choice"], YOURS

# %% [markdown]
# So the validation loss of a causal model with expert choice is not that of a model that writes: it was computed with
# whole texts in view. Zhou et al. say so among their limitations (2202.09368). The lecture leaves it out of its
# comparison for that reason.
#
# ## 5 · Presets
#
# Shapes of two published mixtures, for `RoutedTransformer`. The lecture counts Mixtral's parameters by hand.

# %% folded=true
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
if READY.or_show("presets"):
    with torch.device("meta"):  # shapes without memory
        found = {name: total_and_active(RoutedTransformer(preset)) for name, preset in PRESETS.items()}
    for name, (total, active) in found.items():
        print(f"{name:<17} {total / 1e9:5.1f}B stored, {active / 1e9:4.1f}B active, {100 * active / total:.0f} %")
    assert [round(x / 1e9, 1) for pair in found.values() for x in pair] == [46.7, 12.9, 16.4, 2.8], YOURS

# %% [markdown]
# These are the published figures: Mistral's announcement and 2401.04088 (47B and 13B in section 1), and DeepSeekMoE's
# 16.4B and 2.8B (2401.06066).
#
# ## 6 · Experts on several processes
#
# Each process keeps its experts whole and its own tokens. Tokens travel to their experts and back by *all-to-all*
# (全交换; GShard, 2006.16668): first the counts, so that everybody knows how much comes, then the rows, then the answers
# the other way.


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

# %% [markdown]
# **Predict.** Two processes, four experts each, 24 tokens each. How large is the largest difference of outputs and
# gradients from those of one process?

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
reveal("largest difference", apart, guess, shown=f"{apart:.0e}", within=10)
assert apart < 1e-4 and halves[0][1][0].shape[1:] == whole.gate.weight.shape[1:]

# %% [markdown]
# Rounding, no more: the same sums in another order. Each process holds four experts whole, so their gradients need no
# averaging; those of the router and of attention do.
#
# ## Limits
#
# - `ExpertParallel` has no capacity, waits for each exchange, and leaves data parallelism to you: gradients of routers and
#   all else must be averaged over processes, those of experts must not. Each process's balancing loss is of its own tokens.
# - The policy's reward is each token's own loss, though its choice also moves later tokens; its baseline is a batch mean.
#   Clark et al. (2202.01169) use a learned one.
# - `sort_by_expert` reads once a layer how many places are empty; on a GPU that is a synchronisation.
# - A balancing loss, a capacity, expert choice and a policy's baseline are of the tokens that pass together. With
#   accumulation or several processes each part of a batch has its own; the bias alone is of the whole batch.
#
# ## Sources
#
# Shazeer et al. 2017 (arXiv 1701.06538) · GShard (2006.16668) · Switch (2101.03961) · Hash layers (2106.04426) ·
# ST-MoE (2202.08906) · expert choice (2202.09368) · Clark et al. (2202.01169) · MegaBlocks (2211.15841) · Mixtral
# (2401.04088) · DeepSeekMoE (2401.06066) · loss-free balancing (2408.15664) · DeepSeek-V3 (2412.19437).
