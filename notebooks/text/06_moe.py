# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: routing, minutes: 2, prerequisites: [05_stability, a5_moe_router], device: CPU}
# ---

# %% [markdown]
# # 06 · Mixture of experts (混合专家)
#
# {badge} · prerequisites: 05, a5 (router), a2, a3 · device: CPU
#
# A dense feed-forward network (前馈网络) spends all its parameters on every token. A *mixture of experts* (MoE) has many
# such networks, the *experts* (专家), and a *router* (路由器) that sends each token to a few of them. So a model can store
# much and compute little. Who chooses, and how does it learn to choose? What goes wrong, what is gained, and when
# does it pay?
#
# ## Questions
#
# 1. How much does Mixtral 8x7B store, and how much of that takes part in one token?
# 2. The choice of experts has no gradient. What does the router learn from?
# 3. What happens to the loads when nobody balances them, and what does balancing cost?
# 4. What does a capacity limit cost?
# 5. Must a router learn? Gates, a random table, rewards, and dense networks, at equal cost.
# 6. Gates against rewards, with everything else made equal: what is the difference?
# 7. Do experts specialise in characters or in subjects?
# 8. When does a mixture pay?
#
# The answers stand at the end, each with its numbers. Write your guess in place of `None` before you run a cell below
# a **Predict**. Five exercises ask for a few lines each.

# %%
from IPython.display import display

from cs336lite.course import check, finished, hint, whose
from cs336lite.course.baselines import baselines
from cs336lite.course.claims import claim, claims
from cs336lite.course.compare import comparisons, mean_interval, rerun
from cs336lite.course.data import SEPARATOR, default_corpus
from cs336lite.course.diagram import Diagram
from cs336lite.course.exercise import solution
from cs336lite.course.measure import reveal
from cs336lite.course.paired_plot import difference_figure
from cs336lite.course.plot import COLORS, axes, finish
from cs336lite.course.results import source
from cs336lite.course.tuning import reported
from cs336lite.generation import generate
from cs336lite.moe import Experts, reinforce
from cs336lite.router import TopKRouter

# without these no model is trained here: cells show recorded runs and what our own run has shown
READY = whose("attention", "rope", "router", lecture="06_moe")
YOURS = (
    "this runs on your attention, RoPE and router: "
    "do check('a2_attention'), check('a3_rope') and check('a5_moe_router') pass?"
)

# %% folded=true
#| export
"""Small Transformers with a mixture of experts in each block, trained on the default corpus, for lecture 06.

An *arm* is a dense network or a mixture that computes as much for a token, with another router, balance or capacity.

Built in notebooks/06_moe.ipynb.
"""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cs336lite.course.tuning import Tuned
from cs336lite.model import TransformerConfig
from cs336lite.moe import HashRouter, MoE, PolicyRouter, RoutedTransformer, mixtures
from cs336lite.slots import ActsAfterStep
from cs336lite.trials import held_out_loss, texts

# %% [markdown]
# ## 1 · The layer
#
# **What happens to a token?** Four tokens, three experts, one expert for each token:

# %% folded=true
d = Diagram(92, 15.5)
hue = ("blue", "orange", "green")
tokens, chosen_for = ("the", "cat", "sat", "down"), (2, 0, 2, 1)
places = {"the": 2, "cat": 0, "sat": 3, "down": 1}  # after sorting
top = [d.box(20 + 18 * i, 0.5, t, width=11) for i, t in enumerate(tokens)]
asked = [d.box(20 + 18 * i, 3.5, f"router: {e}", width=11, color=hue[e]) for i, e in enumerate(chosen_for)]
by_expert = [None] * 4
for t, e in zip(tokens, chosen_for):
    by_expert[places[t]] = d.box(20 + 18 * places[t], 6.5, t, width=11, color=hue[e])
who = [d.box(20, 9.5, "expert 0", width=11, color="blue"), d.box(38, 9.5, "expert 1", width=11, color="orange"), d.box(56, 9.5, "expert 2: both rows at once", width=29, color="green")]  # fmt: skip
bottom = [d.box(20 + 18 * i, 13, t, width=11, color=hue[e]) for i, (t, e) in enumerate(zip(tokens, chosen_for))]
for i, t in enumerate(tokens):
    d.arrow(top[i].bottom, asked[i].top)
    d.arrow(asked[i].bottom, by_expert[places[t]].top)
    under = by_expert[places[t]].bottom
    d.arrow(under, (under[0], 9.5))
    d.arrow((under[0], 10.8), bottom[i].top)
for y, said in ((1.1, "tokens"), (4.1, "choose"), (7.1, "sort"), (10.1, "compute"), (13.6, "combine")):
    d.text(1, y, said)
d.show()

# %% [markdown]
# The router chooses, tokens are sorted by expert, each expert computes once for all its tokens, and the answers
# return to their places times the token's *gates* (门控). With logits $h = W_g x$, one for each expert, probabilities
# $p = \text{softmax}(h)$ and the set $T$ of the $k$ greatest,
#
# $$y = \sum_{e \in T} g_e(x)\, E_e(x), \qquad E_e(x) = W^{down}_e \big(\text{SiLU}(W^{gate}_e x) \odot W^{up}_e x\big)$$
#
# By hand, $k = 2$: logits (2, 1, 0) give $p$ = (0.67, 0.24, 0.09). The two greatest, divided by their sum, are the
# gates 0.73 and 0.27, so $y = 0.73\,E_0(x) + 0.27\,E_1(x)$. Here is your router of assignment a5 with six tokens and
# three experts:

# %%
torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.randn(6, 8)
gates, chosen = torch.rand(6, 2), torch.rand(6, 3).argsort(dim=-1)[:, :2]  # until there is a router
if READY.or_show("six tokens"):
    router = TopKRouter(d_model=8, num_experts=3, top_k=2)
    gates, chosen, *_ = router(x)
    for i, (g, e) in enumerate(zip(gates.tolist(), chosen.tolist())):
        print(f"token {i}: {g[0]:.2f} × expert {e[0]} + {g[1]:.2f} × expert {e[1]}")

# %% [markdown]
# Each token has two experts and gates that add up to 1. A mixture in eight lines, with a loop over experts:


# %%
def mixture(x: Tensor, gates: Tensor, chosen: Tensor, experts: list[Callable[[Tensor], Tensor]]) -> Tensor:
    """(n, d_model): for each token the sum of gate times expert(token); gates and chosen are (n, k)."""
    y = torch.zeros_like(x)
    for number, expert in enumerate(experts):
        token, place = torch.where(chosen == number)
        y = y.index_add(0, token, gates[token, place, None] * expert(x[token]))
    return y


three = Experts(num_experts=3, d_model=8, d_ff=16)
y = mixture(x, gates, chosen, [three.expert(number) for number in range(3)])
a, b = chosen[0].tolist()
alone = gates[0, 0] * three.expert(a)(x[:1]) + gates[0, 1] * three.expert(b)(x[:1])
print("token 0 in the mixture and by hand differ by", f"{(y[0] - alone[0]).abs().max().item():.0e}")

# %% [markdown]
# ### Sorted instead of looped
#
# With 256 experts a loop makes 256 small products. If the rows are sorted by expert, one *grouped product* (分组矩阵乘)
# does them all. Take `chosen` = ((2, 0), (0, 1)). Flat it is 2, 0, 0, 1; the places of expert 0 are 1 and 2, that of
# expert 1 is 3, that of expert 2 is 0. So the order is 1, 2, 3, 0 and the counts are 2, 1, 1. Place 3 belongs to
# token 3 // 2 = 1. **Your turn**: the sort must be *stable*, which keeps the places of one expert in order.


# %% exercise="sort_by_expert" minutes=8 difficulty=2
def sort_by_expert(chosen: torch.Tensor, num_experts: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(order, counts): the places of the flat ``chosen`` (n, k) sorted by expert, and how many places each expert has."""
    ### BEGIN SOLUTION
    flat = chosen.flatten()
    return torch.argsort(flat, stable=True), torch.bincount(flat, minlength=num_experts)
    ### END SOLUTION


# %%
order, counts = sort_by_expert(chosen, 3)
rows = x[order // 2]  # all rows of expert 0, then those of expert 1, …
outputs = three.compute(rows, counts)  # grouped products
again = torch.zeros_like(x).index_add(0, order // 2, gates.flatten()[order, None] * outputs)
print("rows an expert:", counts.tolist(), " difference from the loop:", f"{(again - y).abs().max().item():.0e}")
assert torch.allclose(again, y, atol=1e-5)

# %% [markdown]
# The same numbers, by sorting. [Appendix 06x](appendix/06x_mixtures.ipynb) has the rest as `cs336lite.moe`: grouped
# products for every type, the layer for lecture 03's slot, capacity, five routers, experts on several processes.
# MegaBlocks (arXiv 2211.15841) made computing without dropped tokens common; it pads each expert's rows only to whole
# blocks.
#
# ## 2 · What is stored, and what is active
#
# **Why is "8 × 7B" not 56 billion?** Only the feed-forward networks exist eight times. Mixtral has 32 blocks, $d$ =
# 4,096, experts 14,336 wide, keys and values 1,024 wide, and a vocabulary of 32,000.
#
# **Predict.** How many billions of parameters does Mixtral 8x7B store? How many take part in one token, which goes to
# 2 of 8 experts?

# %%
guess_stored = guess_active = None  # billions

d_model, blocks, width, vocab = 4_096, 32, 14_336, 32_000
attention = 2 * d_model * d_model + 2 * d_model * 1_024  # queries and output, keys and values
expert = 3 * d_model * width
once = (
    blocks * (attention + 8 * d_model + 2 * d_model) + 2 * vocab * d_model + d_model
)  # with router, norms, embeddings
stored, active = (once + blocks * number * expert for number in (8, 2))
print(f"attention, embeddings and the rest {once / 1e9:.1f}B, one expert of all blocks {blocks * expert / 1e9:.1f}B")

# %% folded=true
# run this cell to compare your guess
reveal("stored", stored / 1e9, guess_stored, within=1.1, because={"too large": "attention and embeddings exist once, not eight times"}, shown=f"{stored / 1e9:.1f} billion")  # fmt: skip
reveal("active", active / 1e9, guess_active, within=1.1, because={"too small": "attention and the embeddings take part in every token, beside two experts"}, shown=f"{active / 1e9:.1f} billion")  # fmt: skip
claim(
    1,
    "Mixtral 8x7B stores {stored:.1f} billion parameters, of which {active:.1f} take part in a token: {once:.1f} exist once, and each of eight experts has {one:.1f}. Published: {said} stored and {said_active} active.",
    lambda stored, active, once, one, said, said_active: (
        abs(stored - said) < 0.05 and abs(active - said_active) < 0.05 and once < one
    ),
    stored=stored / 1e9,
    active=active / 1e9,
    once=once / 1e9,
    one=blocks * expert / 1e9,
    said=46.7,
    said_active=12.9,
)

# %% folded=true
PUBLISHED = {
    "OLMoE": (6.9, 1.3, 64, 8), "DeepSeekMoE": (16.4, 2.8, 64, 6), "Mixtral 8x7B": (46.7, 12.9, 8, 2),
    "DeepSeek-V3": (671, 37, 256, 8),
}  # fmt: skip
fig, ax = axes(xlabel="billions of parameters", ylabel="model", size=(6.8, 3.1))
for row, (all_of, used, experts, k) in enumerate(PUBLISHED.values()):
    ax.plot([used, all_of], [row, row], color="#888888")
    ax.plot(used, row, "o", color=COLORS["vermillion"], label=None if row else "active in a token")
    ax.plot(all_of, row, "s", color=COLORS["blue"], label=None if row else "stored")
    ax.text(all_of * 1.2, row, f"{k} of {experts} experts", va="center", fontsize=9)
ax.set(xscale="log", yticks=range(4), yticklabels=list(PUBLISHED), xlim=(1, 6_000), ylim=(-0.6, 4.1), title="Published mixtures: 3.6 to 18 times as much stored as active")  # fmt: skip
ax.legend(ncols=2, loc="upper left")
finish(fig)

# %% [markdown]
# A mixture saves FLOPs, not memory: everything that is stored must lie somewhere. Newer mixtures are *fine-grained*
# (细粒度专家; DeepSeekMoE, 2401.06066): more and smaller experts, of which a token takes more. Some have *shared* experts
# (共享专家) that see every token.
#
# ## 3 · What has a gradient
#
# **"Top-k is not differentiable, so how can a router learn?"** The choice $T$ is a step function of the logits: it
# has no useful gradient. But $y$ depends smoothly on the gates of the chosen.
#
# **Predict.** Nudge the 8 logits of a token one at a time, with top-2 and gates that are divided by their sum. For
# how many of the 8 does the output move?

# %%
guess = None


def answer(logits: Tensor, value: Tensor) -> Tensor:
    """A number that depends on the gates of one token, whose experts answer with ``value``."""
    best = logits.topk(2).indices
    return (F.softmax(logits[best], dim=-1) * value[best]).sum()


rng = torch.Generator().manual_seed(0)
logits, value = torch.randn(2, 8, dtype=torch.float64, generator=rng)
nudges = 1e-5 * torch.eye(8, dtype=torch.float64)
slopes = torch.stack([(answer(logits + s, value) - answer(logits - s, value)) / 2e-5 for s in nudges])
gradient = torch.autograd.functional.jacobian(lambda h: answer(h, value), logits)
moving = int((slopes.abs() > 1e-8).sum())

# %% folded=true
# run this cell to compare your guess
reveal("logits that matter", moving, guess, within=1, because={8: "only the gates of the chosen stand in y", 1: "both chosen gates move, in opposite directions"})  # fmt: skip
fig, ax = axes(xlabel="expert", ylabel="slope of the output", size=(6, 2.7))
ax.bar(range(8), slopes.numpy(), color=COLORS["blue"])
ax.axhline(0, color=COLORS["black"], linewidth=0.8)
ax.set(title="Only the two chosen experts' logits have a slope (one token)", xticks=range(8))
display(finish(fig))
claim(
    2,
    "Of 8 logits {moving} move the output, the chosen ones, and autograd agrees with nudging to {off:.0e}: the gates of the chosen have a gradient, the choice has none.",
    lambda moving, off: moving == 2 and off < 1e-8,
    moving=moving,
    off=(gradient - slopes).abs().max().item(),
)

# %% [markdown]
# So a router learns how much to trust the experts that it chose, and nothing about the others: had another been
# better, no gradient would say so. Section 6 comes back to this.
#
# ### Seen as attention
#
# A row of $W_g$ is as long as a token's vector: it is a *key* of its expert, and $h_e = w_e \cdot x$ is the affinity
# of token and expert, as a query's score is. DeepSeek-V3 calls these rows centroids. If experts were constants $v_e$
# and all were taken, the layer would *be* attention, with the experts in place of earlier tokens:

# %%
keys, values, token = torch.randn(5, 8), torch.randn(5, 8), torch.randn(1, 8)
as_mixture = (token @ keys.T).softmax(-1) @ values
as_attention = F.scaled_dot_product_attention(token[None], keys[None], values[None], scale=1.0)[0]
print("largest difference:", f"{(as_mixture - as_attention).abs().max().item():.0e}")

# %% [markdown]
# What differs is that the keys are parameters and not made from the text, that only $k$ are taken, and that the value
# is computed from the token itself. Attention moves information between tokens; a mixture does not.

# %% [markdown]
# ## 4 · Balance
#
# **What if one expert is a little better at the start?** It is chosen more often, gets more training, and is chosen
# even more often. Shazeer et al. (1701.06538, section 4) saw routers settle on the same few experts. Idle experts are
# parameters without use, and on several devices all wait for the busiest. Two cures for the *loads* (负载, the experts'
# shares of all places):
#
# - **A loss** (GShard 2006.16668, Switch 2101.03961): $N \sum_e f_e P_e$, with the load $f_e$ and the mean
#   probability $P_e$, times about 0.01. It is the one of assignment a5. Its gradient competes with that of the
#   model.
# - **A bias** on the scores that serves to choose and does not enter the gates (DeepSeek-V3, 2412.19437;
#   2408.15664). No gradient touches it. After each step it moves by a fixed amount: up for an expert below the mean
#   load, down for one above. DeepSeek-V3 keeps a small loss beside it, within each sequence, against texts that
#   send everything to one expert.
#
# The bias by hand: 12 places went to three experts as (8, 4, 0). The mean is 4, so with a rate of 0.01 the biases
# move by (−0.01, 0, +0.01). **Your turn.**


# %% exercise="bias_step" minutes=5 difficulty=1
def bias_step(bias: torch.Tensor, counts: torch.Tensor, rate: float) -> torch.Tensor:
    """The new bias (experts,): moved by ``rate`` towards the mean load, up where ``counts`` is below it."""
    ### BEGIN SOLUTION
    return bias + rate * torch.sign(counts.sum() / len(counts) - counts)
    ### END SOLUTION


# %%
rng = torch.Generator().manual_seed(1)
scores, bias, loads = torch.randn(512, 8, generator=rng) + torch.linspace(0, 1.5, 8), torch.zeros(8), []
for _ in range(150):  # the scores stay, only the bias learns
    counts = torch.bincount((scores + bias).topk(2).indices.flatten(), minlength=8)
    loads.append(counts / counts.sum())
    bias = bias_step(bias, counts, 0.01)
print("load of the idlest and the busiest expert")
for step in (0, 50, 149):
    print(f"  step {step:>3}: {loads[step].min():.3f} and {loads[step].max():.3f}   (even: 0.125)")

# %% [markdown]
# A controller needs no gradient: it watches the loads and turns a knob. At the end it swings about the mean by what
# one step moves.
#
# **Try it.** Set the rate to 0.1, and to 0.001. What does each do to the idlest expert at steps 50 and 149?
#
# ### Small models to try it on
#
# Byte models of two blocks with 32 channels, on the default corpus. Every mixture has eight experts 64 wide of which
# a token takes two, so it computes what a dense network 128 wide computes, and stores what one of 512 stores. All
# runs end far below the loss of a *bigram table* (二元模型).


# %% folded=true
#| export
MODEL = {
    "vocab_size": 256, "context_length": 64, "d_model": 32, "num_layers": 2, "num_heads": 2, "d_ff": 128,
    "init_std": 0.177, "attend": "sdpa",
}  # fmt: skip
"""A Transformer of two blocks whose feed-forward networks are 128 wide."""

MIXTURE = {"num_experts": 8, "top_k": 2, "d_ff": 64, "balance": 0.0}
"""Eight experts 64 wide, two for each token: the FLOPs of a network 128 wide, and four times its parameters."""

TRAINING = {"steps": 500, "batch": 8, "seq": 64, "warmup": 50}
"""Steps of 512 bytes; the rate rises for ``warmup`` steps, then falls linearly to 0."""


# %% folded=true
#| export
def config_of(run: Mapping[str, Any]) -> TransformerConfig:
    """The configuration of a run. A hash router has another table in each block and with each seed."""
    mixture = run["mixture"]
    if mixture is None:
        return TransformerConfig(**run["config"])
    if mixture.get("router") == "hash":
        seeds, vocab = count(100 * run["seed"]), run["config"]["vocab_size"]
        mixture = {**mixture, "router": lambda _, experts, k: HashRouter(vocab, experts, k, next(seeds))}
    return TransformerConfig(**run["config"], feed_forward=MoE(**mixture))


def draw_batch(draw: torch.Generator, batch: int, seq: int) -> Tensor:
    """(batch, seq + 1) bytes of the training text, from random places."""
    learned = texts()[0]
    return learned[torch.randint(len(learned) - seq, (batch, 1), generator=draw) + torch.arange(seq + 1)]


# %%
#| export
def train_mixture(
    run: Mapping[str, Any], observe: Any = lambda step, model: None
) -> tuple[RoutedTransformer, list[float]]:
    """(model, loss of every step) of ``run``; ``observe(step, model)`` comes after each. FloatingPointError if it diverges."""
    t, draw = run["training"], torch.Generator().manual_seed(run["seed"])
    torch.manual_seed(run["seed"])  # a policy draws its experts from it
    model, losses = RoutedTransformer(config_of(run), draw), []
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    for step in range(t["steps"]):
        optimizer.param_groups[0]["lr"] = run["lr"] * min((step + 1) / t["warmup"], 1 - step / t["steps"])
        batch = draw_batch(draw, t["batch"], t["seq"])
        loss = model.loss(batch[:, :-1], batch[:, 1:])
        if not loss.isfinite():
            raise FloatingPointError(f"the loss of step {step} is {loss.item()}")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        for part in model.modules():
            if isinstance(part, ActsAfterStep):
                part.after_step()
        losses.append(loss.item())
        observe(step, model)
    return model.eval(), losses


# %% folded=true
#| export
@torch.no_grad()
def look(model: RoutedTransformer, pieces: int = 100) -> dict[str, Any]:
    """What the routers of a model do with so many held-out pieces of 64 bytes.

    ``loss`` in nats a byte; for each block ``load``, the experts' shares of all places, and ``log_z``, the root mean
    square of the log-sum-exp of the router's logits, which the router z-loss holds down.
    """
    held, log_z = texts()[1], []
    starts = torch.linspace(0, len(held) - 65, pieces).long()[:, None]
    batch = held[starts + torch.arange(65)]
    hooks = [
        layer.router.register_forward_hook(lambda *told: log_z.append(told[2].z_loss.item() ** 0.5))
        for layer in mixtures(model)
    ]
    loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()).item()
    for hook in hooks:
        hook.remove()
    return {"loss": loss, "load": [layer.load.tolist() for layer in mixtures(model)], "log_z": log_z}


# %% folded=true
#| export
def train_routed(run: Mapping[str, Any]) -> dict[str, Any]:
    """``final``, the held-out loss in nats a byte, None if it diverged; ``curve``, the training loss of every 50 steps; `look`.

    A policy is judged with its likeliest experts; one that is never taught has none, and is judged drawing.
    ``drawn`` is the loss of a policy that draws.
    """
    try:
        model, losses = train_mixture(run)
    except FloatingPointError:
        return {"final": None, "curve": [], "load": [], "log_z": [], "drawn": None}
    curve = [round(sum(losses[i : i + 50]) / 50, 3) for i in range(0, len(losses), 50)]
    seen, final, drawn = look(model), held_out_loss(model, 64), None
    if policies := [part for part in model.modules() if isinstance(part, PolicyRouter)]:
        for policy in policies:
            policy.train()
        drawn = round(held_out_loss(model, 64), 4)
        final = final if policies[0].coefficient else drawn
    return {
        "final": round(final, 4), "curve": curve, "drawn": drawn, "log_z": [round(z, 2) for z in seen["log_z"]],
        "load": [[round(share, 4) for share in block] for block in seen["load"]],
    }  # fmt: skip


# %%
#| export
def run_of(arm: str, changes: Mapping[str, Any], lr: float, seed: int) -> dict[str, Any]:
    """The arguments of one training. ``dense`` among the changes is the width of a network without experts."""
    dense = changes.get("dense")
    config = MODEL | ({"d_ff": dense} if dense else {})
    mixture = None if dense else {**MIXTURE, **changes}
    return {"arm": arm, "lr": lr, "seed": seed, "config": config, "mixture": mixture, "training": TRAINING}


def _tuned(name: str, arms: Mapping[str, Mapping[str, Any]]) -> Tuned:
    return Tuned(
        name, arms, run_of, train_routed, grid=(6.7e-3, 1e-2, 1.5e-2), reporting=(1, 2, 3, 4, 5, 6, 7, 8),
        columns=("arm", "lr", "seed", "final", "curve", "load", "log_z", "drawn"),
        setting={"model": MODEL, "mixture": MIXTURE, "training": TRAINING},
    )  # fmt: skip


# %%
#| export
ROUTERS = _tuned(
    "06_routers",
    {
        "dense, 128": {"dense": 128}, "dense, 512": {"dense": 512}, "top-2": {}, "top-2, loss": {"balance": 0.01},
        "hash": {"router": "hash"}, "REINFORCE": {"router": "policy", "balance": 0.01},
    },
)  # fmt: skip
"""Who chooses the experts: dense networks of the active and of the stored size, gates, a random table, rewards."""


# %% folded=true
#| export
BALANCE = _tuned(
    "06_balance",
    {
        "top-2, bias": {"router": "bias", "bias_rate": 0.01},
        "top-2, loss, z-loss": {"balance": 0.01, "z": 0.001},
    },
)  # fmt: skip
"""Two more ways to hold a router, beside those of `ROUTERS`."""

CAPACITY = _tuned(
    "06_capacity",
    {"capacity 1": {"balance": 0.01, "capacity": 1.0}, "capacity 1.25": {"balance": 0.01, "capacity": 1.25}},
)
"""Experts that take no more than so many times the mean load."""

OTHERS = _tuned(
    "06_others",
    {
        "random": {"router": "policy", "policy_coefficient": 0.0},
        "top-1 of 4": {"num_experts": 4, "top_k": 1, "d_ff": 128, "renormalize": False, "balance": 0.01},
    },
)  # fmt: skip
"""A router that is never taught, and Switch's: one expert a token, twice as wide."""

FINE = _tuned(
    "06_fine",
    {
        "16, top-4": {"num_experts": 16, "top_k": 4, "d_ff": 32, "balance": 0.01},
        "15 + 1 shared": {"num_experts": 15, "top_k": 3, "d_ff": 32, "shared": 1, "balance": 0.01},
    },
)  # fmt: skip
"""More and smaller experts at the same cost, without and with one that every token passes."""


# %% [markdown]
# Each arm's learning rate is chosen with a seed of its own on a grid of neighbours × 1.5 apart, which widens until
# the best one lies inside; then it runs with 8 other seeds. First we watch three short runs, trained now.
#
# **Predict.** An even load is 0.125. Left alone for 150 steps, which share of all places does the busiest of the
# first block's eight experts get?

# %% tags=["timing"]
guess = None

ALONE, LOSS, BIAS = {}, {"balance": 0.01}, {"router": "bias", "bias_rate": 0.01}
WATCHED = {"left alone": ALONE, "loss, 0.01": LOSS, "bias": BIAS}
heat = {}
if READY.or_show("loads by step"):
    for name, changes in WATCHED.items():
        short = run_of(name, changes, 1e-2, 9) | {"training": TRAINING | {"steps": 150}}
        heat[name] = []
        train_mixture(short, lambda step, model, to=heat[name]: to.append(mixtures(model)[0].load.tolist()))
    heat = {name: np.array(load).T for name, load in heat.items()}  # (experts, steps)
    late = {name: load[:, -30:].mean(axis=1) for name, load in heat.items()}
    assert late["left alone"].max() > 1.2 * late["bias"].max(), YOURS

# %% folded=true
# run this cell to compare your guess
if READY.or_show("heat map of loads"):
    reveal("busiest", late["left alone"].max(), guess, within=1.3, because={"too small": "who is chosen is trained, and chosen again"}, shown=f"{late['left alone'].max():.2f}")  # fmt: skip
    fig, panels = axes(1, 3, xlabel="step", ylabel="expert (first block)", size=(8.8, 2.8))
    for ax, (name, load) in zip(panels, heat.items()):
        image = ax.imshow(load, aspect="auto", cmap="cividis", vmin=0, vmax=0.3, interpolation="nearest")
        ax.set_title(f"{name}: {late[name].min():.3f} to {late[name].max():.2f}")
    fig.colorbar(image, ax=panels, label="share of places")
    display(finish(fig))

# %% [markdown]
# Above each panel are the loads of the idlest and the busiest expert in the last 30 steps. In the first steps nothing
# has been learned yet, and the loads are uneven all the same: the router begins with random weights, and each expert
# gets the tokens that happen to point its way. While the rate rises, for 50 steps, that hardly changes. Left alone,
# some experts stay busy and some nearly idle. The loss brings idle experts back slowly: an expert without tokens has
# $f_e = 0$, so the loss can only push the others down. The bias evens the loads out within a few dozen steps.
#
# ### What it costs
#
# Before the runs we set a bound: two losses within 0.02 nats count as the same.
#
# **Predict.** Recorded runs of 500 steps: by how many thousandths of a nat is the loss with the auxiliary loss above
# the loss without any balancing? (Minus where it is below.)

# %%
guess = None

SWEEPS = (ROUTERS, BALANCE, CAPACITY, OTHERS, FINE)
found = {sweep.name: sweep.recorded() for sweep in SWEEPS}
losses = {arm: row for sweep in SWEEPS for arm, row in reported(found[sweep.name], sweep.reporting).items()}
rates = {arm: chosen["lr"] for one in found.values() for arm, chosen in one["chosen"].items()}
ROWS = [row for one in found.values() for row in one["rows"] if row["lr"] == rates[row["arm"]] and row["seed"] < 100]
tables = baselines(*(text.numpy() for text in texts()), 256)


def of(arm: str, column: str) -> np.ndarray:
    """What the 8 reported runs of an arm have in a column, such as (seeds, blocks, experts) for the load."""
    return np.array([row[column] for row in ROWS if row["arm"] == arm])


balance = comparisons(losses, [(arm, "top-2") for arm in ("top-2, loss", "top-2, bias", "top-2, loss, z-loss")], within=0.02)  # fmt: skip
print(source("06_routers.json"), source("06_balance.json"), tables, sep="\n")
for arm in ("top-2", "top-2, loss", "top-2, bias", "top-2, loss, z-loss"):
    load, z = of(arm, "load"), of(arm, "log_z").mean()
    print(
        f"{arm:<20} idlest {load.min(-1).mean():.3f}, busiest {load.max(-1).mean():.2f}, log Z of the router {z:5.2f}"
    )

# %% folded=true
# run this cell to compare your guess
reveal("loss above none", 1_000 * balance[0].mean, guess, margin=10, shown=f"{1_000 * balance[0].mean:+.0f} thousandths of a nat")  # fmt: skip
difference_figure(balance, title="Against no balancing, seed by seed", quantity="held-out loss a byte")


# %% folded=true
def spread(arm: str) -> tuple[float, float]:
    """The mean load of the idlest and of the busiest expert of a block."""
    return float(of(arm, "load").min(-1).mean()), float(of(arm, "load").max(-1).mean())


claim(
    3,
    "Left alone the idlest expert has {idle:.3f} of the places and the busiest {busy:.2f}; with the loss {loss_idle:.3f} and {loss_busy:.2f}, with the bias {bias_idle:.3f} and {bias_busy:.2f} (even: 0.125).",
    lambda idle, busy, loss_idle, loss_busy, bias_idle, bias_busy: (
        busy > 1.2 * loss_busy and busy > 1.2 * bias_busy and idle < loss_idle and idle < bias_idle
    ),
    idle=spread("top-2")[0],
    busy=spread("top-2")[1],
    loss_idle=spread("top-2, loss")[0],
    loss_busy=spread("top-2, loss")[1],
    bias_idle=spread("top-2, bias")[0],
    bias_busy=spread("top-2, bias")[1],
)
claim(
    3,
    "Against no balancing the loss changes by {loss:+.3f} ± {loss_half:.3f} nats with the auxiliary loss and by {bias:+.3f} ± {bias_half:.3f} with the bias: neither a gain nor a cost is shown, and neither is equality within 0.02. The router z-loss takes the router's log Z from {free:.1f} to {held:.1f}, and the loss changes by {z:+.3f} ± {z_half:.3f} against no balancing.",
    lambda loss, loss_half, bias, bias_half, free, held, z, z_half: (
        not any(one.differs or one.same for one in balance)
        and abs(loss) + loss_half < 0.1
        and abs(bias) + bias_half < 0.1
        and abs(z) + z_half < 0.1
        and held < 0.7 * free
    ),
    loss=balance[0].mean,
    loss_half=balance[0].interval.half,
    bias=balance[1].mean,
    bias_half=balance[1].interval.half,
    free=of("top-2, loss", "log_z").mean(),
    held=of("top-2, loss, z-loss", "log_z").mean(),
    z=balance[2].mean,
    z_half=balance[2].interval.half,
)

# %% [markdown]
# The loads do what was promised. The losses cannot be told apart, and are not shown to be the same either: eight
# seeds leave intervals wider than our bound of 0.02 nats, and corrected for three comparisons no difference is
# certain. So at this scale balancing costs at most a few hundredths of a nat, and may gain as much. What it buys for
# certain is that no expert idles, which matters when experts live on different devices (section 9).
#
# The last arm has the *router z-loss* too (ST-MoE, 2202.08906): lecture 05's spring on log Z, for the router's
# logits, times 0.001. It holds log Z down. Whether that makes the router's softmax softer we did not measure. In
# large models of low precision it prevents failures; in 500 steps of float32 there is none to prevent.
#
# ## 5 · Capacity
#
# **What if shapes must be fixed?** GShard and Switch gave every expert a buffer of $C = \lceil c \cdot nk / N \rceil$
# rows, the *capacity* (容量), with a capacity factor $c$ between 1 and 2. Tokens that arrive when an expert is full are
# *dropped*: the layer adds nothing to them, and only the residual stream carries them on.

# %% folded=true
d = Diagram(76, 8)
row = ["a → 0", "b → 0", "c → 1", "d → 0", "e → 2", "f → 0"]
d.text(1, 0.9, "arriving")
d.row(14, 0.3, row, ["blue", "blue", "orange", "blue", "green", "blue"])
for number, (held, color) in enumerate(((("a", "b"), "blue"), (("c", ""), "orange"), (("e", ""), "green"))):
    d.text(14 + 17 * number, 3.3, f"expert {number}")
    d.row(14 + 17 * number, 4, held, [color if name else "grey" for name in held], widths=[5, 5])
d.text(1, 4.6, "buffers of 2")
d.text(1, 7.2, "dropped")
d.row(14, 6.6, ["d", "f"], "vermillion", widths=[5, 5])
d.text(27, 7.2, "2 of 6 dropped, and 2 of 6 rows are empty")
d.show()

# %% [markdown]
# GShard places all first choices before any second choice. Our layer goes by token, both choices of a token before
# the next token, so that a token's fate depends on no later token. **Your turn**: which places are kept? A running
# count for each expert does it: `F.one_hot` and `cumsum`.


# %% exercise="kept" minutes=10 difficulty=2
def kept(chosen: torch.Tensor, num_experts: int, capacity: int) -> torch.Tensor:
    """(n, k), True where a place is among the first ``capacity`` of its expert, in the order of ``chosen.flatten()``."""
    ### BEGIN SOLUTION
    flat = chosen.flatten()
    running = F.one_hot(flat, num_experts).cumsum(dim=0)  # (n k, experts)
    mine = running.gather(1, flat[:, None])[:, 0]  # 1 for the first place of an expert, 2 for the second, …
    return (mine <= capacity).view_as(chosen)
    ### END SOLUTION


# %%
drawn = torch.tensor([[0], [0], [1], [0], [2], [0]])  # the picture
print(kept(drawn, 3, capacity=2).flatten().tolist())

# %% [markdown]
# **Predict.** Models that were trained with the balancing loss and a capacity factor of 1: which share of all places
# do they drop on held-out text?

# %%
guess = None

dropped = {arm: 1 - of(arm, "load").sum(-1).mean() for arm in CAPACITY.arms}
limited = comparisons(losses, [(arm, "top-2, loss") for arm in CAPACITY.arms], within=0.02)
print(source("06_capacity.json"))

# %% folded=true
# run this cell to compare your guess
reveal("dropped at 1", dropped["capacity 1"], guess, within=1.3, because={"too small": "loads are equal on average at best, and never in each batch"}, shown=f"{100 * dropped['capacity 1']:.0f} %")  # fmt: skip
print(f"at 1.25: {100 * dropped['capacity 1.25']:.1f} %")
difference_figure(limited, title="A capacity against none", quantity="held-out loss a byte")

# %% folded=true
claim(
    4,
    "A capacity factor of 1 drops {one:.1f} % of the places and changes the loss by {one_cost:+.3f} nats ({one_low:+.3f} to {one_high:+.3f}); a factor of 1.25 drops {more:.1f} % and changes it by {more_cost:+.3f} ({more_low:+.3f} to {more_high:+.3f}). Neither cost is certain; the intervals end at {worst:.3f} or below.",
    lambda one, one_cost, one_low, one_high, more, more_cost, more_low, more_high, worst: (
        one > 3 * more > 0
        and one_low < 0 < one_cost < one_high <= worst
        and more_low < 0 < more_cost < more_high <= worst
        and worst < 0.15
    ),
    one=100 * dropped["capacity 1"],
    one_cost=limited[0].mean,
    one_low=limited[0].interval.low,
    one_high=limited[0].interval.high,
    more=100 * dropped["capacity 1.25"],
    more_cost=limited[1].mean,
    more_low=limited[1].interval.low,
    more_high=limited[1].interval.high,
    worst=max(one.interval.high for one in limited),
)

# %% [markdown]
# Even with balanced loads a batch is never quite even, so some places are dropped at a factor of 1, and few at 1.25.
# Whether that costs anything eight seeds cannot say: both intervals hold zero, and both reach past 0.05. A dropped
# place is not a lost token: it may have a second expert, and it always has the residual stream. Grouped products need
# no equal groups, so our layer drops nothing unless it is asked to.
#
# ## 6 · Must a router learn?
#
# **Hash layers** (Roller et al., 2106.04426) do without a router: a random table, fixed for ever, has the experts of
# each token id. Nothing learns, nothing can collapse. Are the loads even, then? The bytes of a text are not equally
# frequent. **Your turn**: work out the loads from the counts of the bytes. By hand: bytes a, b, c stand 6, 3 and 1
# times, and the table says a → 1, b → 0, c → 1. Then expert 0 has 3 of 10 and expert 1 has 7.


# %% exercise="hash_load" minutes=8 difficulty=1
def hash_load(counts: torch.Tensor, table: torch.Tensor, num_experts: int) -> torch.Tensor:
    """(experts,): each expert's share of all places, for ids that occur ``counts`` (vocab,) times; ``table`` is (vocab, k)."""
    ### BEGIN SOLUTION
    load = torch.zeros(num_experts)
    for column in table.T:
        load = load.index_add(0, column, counts.float())
    return load / load.sum()
    ### END SOLUTION


# %% [markdown]
# **Predict.** Over 300 random tables: which share of the places does the busiest of eight experts have, in the median?

# %%
guess = None

byte_counts = torch.bincount(texts()[1], minlength=256)
rng = torch.Generator().manual_seed(0)
drawn = [torch.rand(256, 8, generator=rng).argsort(dim=-1)[:, :2] for _ in range(300)]
busiest = np.array([hash_load(byte_counts, table, 8).max().item() for table in drawn])

# %% folded=true
# run this cell to compare your guess
reveal("busiest of a table", np.median(busiest), guess, within=1.15, because={"too small": "a space is one byte in six, and goes to the same experts every time"}, shown=f"{np.median(busiest):.2f}")  # fmt: skip
fig, ax = axes(xlabel="share of the busiest expert", ylabel="tables", size=(6.4, 2.9))
ax.hist(busiest, 25, color=COLORS["blue"])
for name, style in (("top-2, loss", "-"), ("top-2", "--")):
    value = spread(name)[1]
    ax.axvline(value, color=COLORS["black"], linestyle=style, label=f"learned, {name}: {value:.2f}")
ax.axvline(0.125, color=COLORS["vermillion"], linestyle=":", label="even: 0.125")
ax.set(title="A random table of bytes is not balanced (300 tables)", ylim=(0, None))
ax.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1))
finish(fig)

# %% [markdown]
# A space is one byte in six, so its experts are busy whatever the table is. A table is less even than a router with
# the balancing loss after 500 steps, and more even than one that is left alone. Nobody can rebalance it: Roller et
# al. also built tables from the frequencies, to even the loads. In the runs below every block of every run has its
# own table.
#
# ### Rewards
#
# Choosing without a gradient is what reinforcement learning (强化学习) is for. The *policy* draws experts from $p$, sees
# the reward $R$, here the log-probability of the right next byte, and makes rewarded draws more likely (REINFORCE,
# Williams 1992; for routers 1511.06297 and 2202.01169):
#
# $$\nabla\, \mathbb{E}[R] = \mathbb{E}\big[(R - b)\, \nabla \log \pi(T \mid x)\big]$$
#
# with a baseline $b$, here the mean reward of the batch. Its two gates are a half each, so only rewards teach it;
# top-2's gates add up to 1 as well.
#
# **Predict.** All at the FLOPs of "dense, 128", except "dense, 512", whose feed-forward networks need four times as
# many. By how many thousandths of a nat is the hash table above (minus: below) "dense, 128"? And the policy above
# top-2 with the loss?

# %%
guess_hash = guess_policy = None

pairs = [("dense, 512", "dense, 128"), ("top-2, loss", "dense, 128"), ("hash", "dense, 128"), ("hash", "dense, 512"), ("REINFORCE", "dense, 128"), ("random", "dense, 128"), ("hash", "top-2, loss"), ("REINFORCE", "top-2, loss"), ("REINFORCE", "random"), ("top-1 of 4", "top-2, loss"), ("16, top-4", "top-2, loss"), ("15 + 1 shared", "top-2, loss")]  # fmt: skip
routing = {(one.a, one.b): one for one in comparisons(losses, pairs, within=0.02)}
print(source("06_others.json"), source("06_fine.json"), sep="\n")
for one in routing.values():
    print(one)

# %% folded=true
# run this cell to compare your guess
reveal("hash above dense", 1_000 * routing["hash", "dense, 128"].mean, guess_hash, margin=30, shown=f"{1_000 * routing['hash', 'dense, 128'].mean:+.0f} thousandths")  # fmt: skip
reveal("policy above gates", 1_000 * routing["REINFORCE", "top-2, loss"].mean, guess_policy, margin=30, shown=f"{1_000 * routing['REINFORCE', 'top-2, loss'].mean:+.0f} thousandths")  # fmt: skip
fig, ax = axes(xlabel="held-out loss (nats a byte)", ylabel="arm", size=(7, 4.8))
ranked = sorted(losses, key=lambda arm: -np.mean(list(losses[arm].values())))
for row, arm in enumerate(ranked):
    color, mark = (COLORS["blue"], "s") if "dense" in arm else (COLORS["vermillion"], "o")
    middle = mean_interval(losses[arm].values())
    ax.plot(list(losses[arm].values()), [row - 0.2] * len(losses[arm]), "|", color=COLORS["black"], alpha=0.6)
    ax.errorbar(middle.mean, row + 0.1, xerr=middle.half, fmt=mark, color=color, capsize=3)
ax.set(yticks=range(len(ranked)), yticklabels=ranked, title="Lowest loss on top; squares: dense; mean, 95 % interval, n = 8")  # fmt: skip
finish(fig)

# %% folded=true
curve = {arm: of(arm, "curve").mean(axis=0) for arm in ("dense, 128", "top-2, loss", "hash", "REINFORCE")}
fig, ax = axes(xlabel="step", ylabel="training loss (nats a byte)", size=(6.6, 3.2))
for (arm, mean), style, color in zip(curve.items(), ("-", "--", "-.", ":"), COLORS.values()):
    ax.plot(25 + 50 * np.arange(1, 10), mean[1:], style, marker="o", markersize=3, color=color, label=arm)
ax.axhline(tables.bigram, color="#888888", linewidth=1)
ax.set(title="Mean of 50 steps and 8 seeds, from step 50 on (grey: bigram table)")
ax.legend(fontsize=9)
finish(fig)

# %% folded=true
hashed, gates_, policy, big = (routing[pair] for pair in (("hash", "dense, 128"), ("hash", "top-2, loss"), ("REINFORCE", "top-2, loss"), ("dense, 512", "dense, 128")))  # fmt: skip
claim(
    5,
    "A random table is {hashed:.3f} nats below the dense network of equal FLOPs ({low:.3f} to {high:.3f}) and {learned:.3f} below learned gates; the policy is {policy:.3f} above the gates. A dense model with feed-forward networks four times as large and as costly is {big:.3f} ± {half:.3f} below the small one.",
    lambda hashed, low, high, learned, policy, big, half: (
        low > 0.03 and high > hashed and learned > 0.03 and policy > 0.03 and abs(big) + half < hashed
    ),
    hashed=-hashed.mean,
    low=-hashed.interval.high,
    high=-hashed.interval.low,
    learned=-gates_.mean,
    policy=policy.mean,
    big=-big.mean,
    half=big.interval.half,
)
claim(
    5,
    "Of 300 random tables of bytes the busiest expert has {middle:.2f} of the places in the median, more than with the learned router and the loss ({loss:.2f}) and less than with the router left alone ({alone:.2f}).",
    lambda middle, loss, alone: loss < middle < alone,
    middle=float(np.median(busiest)),
    loss=spread("top-2, loss")[1],
    alone=spread("top-2")[1],
)
# %% folded=true
one_expert, luck, fine, shared = (routing[pair] for pair in (("top-1 of 4", "top-2, loss"), ("REINFORCE", "random"), ("16, top-4", "top-2, loss"), ("15 + 1 shared", "top-2, loss")))  # fmt: skip
claim(
    5,
    "Against eight experts and top-2 at equal cost, top-1 of four wide experts is {one:.3f} nats worse; sixteen narrow ones with top-4 differ by {fine:+.3f} ± {fine_half:.3f} and 15 with a shared one by {shared:+.3f} ± {shared_half:.3f}. The policy differs from drawing at random for ever by {luck:+.3f} ± {luck_half:.3f}.",
    lambda one, fine, fine_half, shared, shared_half, luck, luck_half: (
        one_expert.differs
        and one > 0.03
        and abs(fine) < fine_half
        and abs(shared) < shared_half
        and abs(luck) < luck_half
    ),
    one=one_expert.mean,
    fine=fine.mean,
    fine_half=fine.interval.half,
    shared=shared.mean,
    shared_half=shared.interval.half,
    luck=luck.mean,
    luck_half=luck.interval.half,
)

# %% [markdown]
# **The table wins**, and not narrowly: against learned gates, against the dense network of equal cost, and against
# the one whose feed-forward networks cost four times as much. Its lead is there after 50 steps and grows. A likely
# reason, which we did not test: its experts are specialised from the first step on, each for a quarter of the bytes,
# while a learned router moves tokens from expert to expert as it learns. Section 8 looks at what the experts of a
# learned router take.
#
# **At scale the order is another.** Roller et al. found hashing competitive with Switch and BASE. Clark et al.
# (2202.01169) fitted scaling laws to three kinds of routing with up to hundreds of experts, and rank S-BASE, whose
# assignment is learned and balanced, above RL-R and hash layers. Bytes and 500 steps show the beginning of training
# only.
#
# **Learned gates do not show a gain from what they store.** The table stores as much and gains. Neither the mixture
# with gates and the loss nor the wider dense network is certain to beat the small dense one. Nor is an effect of
# finer experts or of a shared one shown. One wide expert instead of two narrow ones does harm. It differs in two ways
# at once: its answer is multiplied by $p < 1$, and there is no second choice; we did not take them apart.
#
# **Rewards teach next to nothing here.** The policy cannot be told from one that draws at random and is never taught,
# and both are worse than a dense network. One reason may be that a reward is one number for two draws in each of two
# blocks. Does it fail at choosing as such? The next section asks that with a smaller task.
#
# ## 7 · Two ways to learn a choice
#
# **Value or policy?** Reinforcement learning has two families. A *value-based* method (基于价值) learns how good each
# choice is, and takes the best. A *policy-based* method (基于策略) learns the probabilities themselves, from draws and
# rewards. Gates look like values: the best is taken. But nobody tells them what a choice was worth. Their gradient
# says whether the *output* of the chosen expert should be larger.
#
# A small task shows the difference: vectors come from four clouds, each cloud has its own matrix to learn, there are
# four experts, and a vector takes one. In the usual form the gates multiply the answer by $p < 1$ and the policy
# multiplies it by 1. The arm `gates × 1` makes them equal (its factor is 1, with the gradient of $\log p$); `gates ×
# 1, drawn` explores as the policy does.


# %%
def choose(mode: str, logits: Tensor, rng: torch.Generator, learning: bool) -> Tensor:
    """(n,): the expert of each vector. Values explore one time in ten, policies draw, the others take the greatest."""
    greatest, anywhere = logits.argmax(-1), torch.randint(logits.shape[1], (len(logits),), generator=rng)
    if mode == "random":
        return anywhere
    if mode == "values" and learning:
        return torch.where(torch.rand(len(logits), generator=rng) < 0.1, anywhere, greatest)
    if mode in ("REINFORCE", "gates × 1, drawn") and learning:
        return torch.multinomial(logits.detach().softmax(-1), 1, generator=rng)[:, 0]
    return greatest


LESSONS = {  # what the choice itself is taught: by rewards, or to predict the reward, which is minus the error
    "REINFORCE": lambda p, score, error: reinforce(p.log(), -error),
    "values": lambda p, score, error: (score + error.detach()).square().mean(),
}


# %%
def clouds_error(mode: str, seed: int, steps: int = 250) -> float:
    """The squared error after training, on new vectors; policies then take their likeliest expert."""
    rng = torch.Generator().manual_seed(seed)
    centres, matrices = 2 * torch.randn(4, 16, generator=rng), torch.randn(4, 16, 16, generator=rng) / 4
    experts = nn.Parameter(torch.randn(4, 16, 16, generator=rng) / 4)
    gate = nn.Parameter(torch.randn(4, 16, generator=rng) / 4)
    adam = torch.optim.Adam([experts, gate], lr=1e-2)
    for step in range(steps + 1):
        cloud = torch.randint(4, (128,), generator=rng)
        x = centres[cloud] + 0.5 * torch.randn(128, 16, generator=rng)
        logits = x @ gate.T
        e = choose(mode, logits, rng, learning=step < steps)
        p, score = logits.softmax(-1)[range(128), e], logits[range(128), e]
        factor = p if mode == "gates" else p / p.detach() if "× 1" in mode else torch.ones(128)
        wanted, given = (torch.einsum("nd,ned->ne", x, m) for m in (matrices[cloud], experts[e]))
        error = (factor[:, None] * given - wanted).square().mean(dim=1)
        if step == steps:
            return error.mean().item()
        loss = error.mean()
        if mode in LESSONS:
            loss = loss + 0.1 * LESSONS[mode](p, score, error)
        adam.zero_grad()
        loss.backward()
        adam.step()


# %% [markdown]
# **Predict.** The error of the usual gates is about half of that of random choice. How large is the error of the
# policy, as a share of that of `gates × 1`?

# %% tags=["timing"]
guess = None

MODES = ("gates", "gates × 1", "gates × 1, drawn", "REINFORCE", "values", "random")
task = {mode: {seed: clouds_error(mode, seed) for seed in range(8)} for mode in MODES}
mean = {mode: float(np.mean(list(by.values()))) for mode, by in task.items()}
choices = comparisons(task, [("gates × 1", "gates"), ("REINFORCE", "gates"), ("REINFORCE", "gates × 1"), ("REINFORCE", "gates × 1, drawn"), ("values", "REINFORCE")], unit="mean square")  # fmt: skip
print({mode: round(value, 3) for mode, value in mean.items()})

# %% folded=true
# run this cell to compare your guess
reveal("policy / gates × 1", mean["REINFORCE"] / mean["gates × 1"], guess, within=1.3, because={"too large": "a gate of 1 has no use for more output, and its gradient says nothing about the choice"}, shown=f"{mean['REINFORCE'] / mean['gates × 1']:.2f}")  # fmt: skip
difference_figure(choices, title="Four clouds, four experts, one each", quantity="error on new vectors")

# %% folded=true
by_pair = {(one.a, one.b): one for one in choices}
plain, equal, explored = (by_pair["REINFORCE", other] for other in ("gates", "gates × 1", "gates × 1, drawn"))
claim(
    6,
    "With the usual gates the policy differs by {plain:+.3f} ({plain_low:+.3f} to {plain_high:+.3f}) in squared error. With a factor of 1 for both it is {equal:.3f} better ({equal_low:.3f} to {equal_high:.3f}), and {explored:.3f} where the gates draw as well.",
    lambda plain, plain_low, plain_high, equal, equal_low, equal_high, explored: (
        plain_low < plain < plain_high
        and abs(plain) < 0.5 * equal
        and equal_low > 0.02
        and equal_high > equal > explored > 0
    ),
    plain=plain.mean,
    plain_low=plain.interval.low,
    plain_high=plain.interval.high,
    equal=-equal.mean,
    equal_low=-equal.interval.high,
    equal_high=-equal.interval.low,
    explored=-explored.mean,
)

# %% [markdown]
# A first guess would be that the policy has the advantage of the factor: its experts answer with their full size.
# Making the factors equal shows the opposite. The policy had a factor of 1 already. Given the same factor, the
# *gates* get much worse. A usual gate does real work, since it scales the answer. At a factor of 1 it scales nothing,
# and its gradient still asks "should the output be larger?", which is no question about the choice: `gates × 1` is
# hardly better than random. Drawing instead of taking the best closes a part of the distance, since experts that were
# never tried get a chance. What remains is the question itself: a reward compares a choice with the average of the
# others.
#
# The values ask the right question too, and do badly here. Four half-trained experts are worth about the same, and a
# small error of the prediction changes which is greatest. That is one setting of each method, untuned: the figure
# compares these runs; it does not say which family is better.
#
# Why do gates then win in the language model? There each token has two blocks of choices and one reward, and most of
# that depends on the text and not on the choice: noise, for the policy. The gradient of a gate is exact, though it
# answers another question. That is our explanation; the runs do not test it.
#
# **Try it.** Train four times as long (`steps=1_000`). Which of the six catches up?
#
# ## 8 · What experts take
#
# **Characters or subjects?** Mixtral's authors looked for experts of subjects and found none: the syntax and the
# token matter (2401.04088, section 5). OLMoE's authors, with 64 small experts in a layer, report experts of domains
# and of tokens (2409.02060, section 5), and DeepSeek-V3's report that experts specialise more in domains when the
# bias balances instead of a loss (2412.19437, section 4.5.3). Our corpus has three subjects: stories, documentation
# of PyTorch, and Chinese. We train a model now, and ask how many bits (*mutual information*, 互信息) the byte tells
# about its first expert, and how many more the subject tells once the byte is known.


# %%
def bits(*columns: Tensor) -> float:
    """The entropy of the rows of small numbers that stand side by side, in bits."""
    _, counts = torch.unique(torch.stack(columns), dim=1, return_counts=True)
    p = counts.double() / counts.sum()
    return float(-(p * p.log2()).sum())


def told(expert: Tensor, byte: Tensor, subject: Tensor) -> tuple[float, float, float]:
    """Bits about the expert: all there are, those that the byte tells, those that the subject adds to the byte."""
    given_byte = bits(expert, byte) - bits(byte)
    given_both = bits(expert, byte, subject) - bits(byte, subject)
    return bits(expert), bits(expert) - given_byte, given_byte - given_both


# %% folded=true
def labelled(pieces: int = 250, seq: int = 64) -> tuple[Tensor, Tensor]:
    """(tokens (n, seq), subject (n,)) of held-out documents: as many pieces of stories (0), documentation (1), Chinese (2)."""
    held = default_corpus().read_text(encoding="utf-8").split(SEPARATOR)[1::2]
    kinds = ([], [], [])
    for text in held:
        chinese = sum("\u4e00" <= c <= "\u9fff" for c in text) > 0.2 * len(text)
        story = any(text.strip().startswith(words) for words in ("Once", "Long ago"))
        kinds[2 if chinese else 0 if story else 1].append(text)
    tokens = []
    for texts_of in kinds:
        content = torch.tensor(list("".join(texts_of).encode()[: 400 * pieces]))
        starts = torch.linspace(0, len(content) - seq, pieces).long()[:, None]
        tokens.append(content[starts + torch.arange(seq)])
    return torch.cat(tokens), torch.arange(3).repeat_interleave(pieces)


# %% [markdown]
# **Predict.** With eight experts there are at most 3 bits. How many does the byte tell about the first expert, in the
# first block? How many hundredths of a bit does the subject add there?

# %% tags=["timing"]
guess_byte = guess_subject = None

if READY.or_show("what experts take"):
    model, curve = train_mixture(run_of("top-2, bias", BIAS, rates["top-2, bias"], 9))
    assert rerun(losses["top-2, bias"].values()).holds(held_out_loss(model, 64)), YOURS
    tokens, subject = labelled()
    seen = []
    hooks = [m.router.register_forward_hook(lambda *a: seen.append(a[2].indices[:, 0])) for m in mixtures(model)]
    with torch.no_grad():
        model(tokens)
    for hook in hooks:
        hook.remove()
    byte, kind = tokens.flatten(), subject.repeat_interleave(64)
    rng = torch.Generator().manual_seed(0)
    by_byte = torch.argsort(byte * 10**6 + torch.randint(10**6, byte.shape, generator=rng))
    mixed = torch.empty_like(kind)
    mixed[torch.argsort(byte, stable=True)] = kind[by_byte]  # subjects drawn anew among equal bytes
    shares = [told(expert, byte, kind) for expert in seen]
    chance = [told(expert, byte, mixed)[2] for expert in seen]
    begun = torch.tensor([list(b"Once upon a time")])
    print(repr(bytes(generate(model, begun, 48, temperature=0.5, generator=rng)[0].tolist()).decode(errors="replace")))
    print(f"held out {held_out_loss(model, 64):.3f} nats; bits: all, by the byte, added by the subject, that by chance")
    for block, (found_bits, by_chance) in enumerate(zip(shares, chance)):
        print(f"block {block}: " + ", ".join(f"{b:.2f}" for b in (*found_bits, by_chance)))

# %% folded=true
# run this cell to compare your guess
if READY.or_show("bits of experts"):
    reveal("by the byte", shares[0][1], guess_byte, within=1.3, shown=f"{shares[0][1]:.2f} bits")
    reveal("added by the subject", 100 * shares[0][2], guess_subject, margin=10, because={"too large": "the byte alone tells most of the subject, and is counted first"}, shown=f"{100 * shares[0][2]:.0f} hundredths")  # fmt: skip
    fig, (left, right) = axes(1, 2, size=(8.8, 3.2))
    for row, (all_of, from_byte, from_subject) in enumerate(shares):
        for start, width, color, name in ((0, from_byte, "blue", "byte"), (from_byte, from_subject, "vermillion", "subject, given the byte"), (from_byte + from_subject, all_of - from_byte - from_subject, "yellow", "neither")):  # fmt: skip
            left.barh(row, width, left=start, color=COLORS[color], label=None if row else name)
    left.set(yticks=(0, 1), yticklabels=(0, 1), xlabel="bits about the first expert", ylabel="block", title="What tells the expert?", ylim=(-0.6, 2.3))  # fmt: skip
    left.legend(fontsize=8, loc="upper center", ncols=3, columnspacing=0.8, handlelength=1)
    for number, (name, color, mark) in enumerate((("stories", "blue", "o"), ("documentation", "orange", "s"), ("Chinese", "green", "^"))):  # fmt: skip
        load = torch.bincount(seen[0][kind == number], minlength=8) / (kind == number).sum()
        right.plot(range(8), load, mark, color=COLORS[color], label=name)
    right.axhline(0.125, color="#888888", linestyle=":")
    right.set(xlabel="expert (first block)", ylabel="share of the first places", title="Loads by subject (dotted: even)", ylim=(-0.02, None))  # fmt: skip
    right.legend(fontsize=8)
    display(finish(fig))
    for number in range(8):
        here, all_ = (torch.bincount(t, minlength=256).double() for t in (byte[seen[0] == number], byte))
        most = [c for c in here.argsort(descending=True)[:14].tolist() if here[c] > 0.5 * all_[c]]
        print(f"expert {number} has most of:", " ".join(repr(chr(c)) if c < 128 else f"{c:02x}" for c in most))

# %% folded=true
if READY.or_show("experts of characters"):
    claim(
        7,
        "Of {all_of:.2f} bits about a token's first expert in the first block, its byte tells {byte:.2f}, and the subject adds {subject:.2f} ({chance:.2f} by chance): experts of characters, not of subjects.",
        lambda all_of, byte, subject, chance: byte > 0.5 * all_of and subject < 0.2 * byte and chance < 0.1,
        all_of=shares[0][0],
        byte=shares[0][1],
        subject=shares[0][2],
        chance=chance[0],
    )

# %% [markdown]
# The byte tells most of what there is to know about the expert, in the first block more than in the second, where the
# vectors hold more of the context. The subject adds next to nothing. Look at the right panel, though: the loads of
# the subjects differ widely! They differ because the subjects use different bytes. Whoever counts experts by subject
# alone finds "experts of Chinese", which are experts of the bytes of Chinese. So our experts take characters. That is
# no objection to OLMoE or DeepSeek-V3, whose experts are many and small and trained on trillions of tokens; it is a
# reason to ask what the token itself explains first.
#
# ## 9 · When it pays
#
# **Where do the experts live?** When a layer's experts do not fit on one device, whole experts go to different
# devices (*expert parallelism*, 专家并行). Each device has tokens and experts. Tokens travel to their experts and back,
# by *all-to-all* (全交换; GShard):

# %% folded=true
d = Diagram(88, 12.5)
for x0, device, tokens, color in ((1, 0, "abcd", "blue"), (47, 1, "efgh", "orange")):
    d.text(x0, 0.6, f"device {device}: its tokens")
    up = [d.box(x0 + 10 * i, 1.3, t, width=8, color=color) for i, t in enumerate(tokens)]
    d.box(x0, 6, f"experts {4 * device} to {4 * device + 3}", width=38, color="grey")
    down = [d.box(x0 + 10 * i, 10.7, t, width=8, color=color) for i, t in enumerate(tokens)]
    for i in (0, 1):  # these stay
        d.arrow(up[3 * device - i if device else i].bottom, (up[3 * device - i if device else i].bottom[0], 6))
        d.arrow((down[3 * device - i if device else i].top[0], 7.3), down[3 * device - i if device else i].top)
for i in (2, 3):  # these cross
    here, there = 5 + 10 * i, 51 + 10 * (i - 2)
    d.arrow((here, 2.6), (there, 6), color="vermillion")
    d.arrow((there, 2.6), (here, 6), color="vermillion")
    d.arrow((there, 7.3), (here, 10.7), color="vermillion")
    d.arrow((here, 7.3), (there, 10.7), color="vermillion")
d.show()

# %% [markdown]
# Of $n$ tokens on each of $P$ devices, each with $k$ rows of $d$ numbers, a share of $1 - 1/P$ has its expert
# elsewhere when experts are spread evenly. Rows go there, and answers come back: two exchanges in a forward pass, two
# more in the backward pass. By hand: 4 tokens, $k = 1$, $d = 8$, 2 bytes a number, 2 devices: half of 4 rows leave, 2
# × 8 × 2 = 32 bytes. The device also sends 32 bytes of answers for the rows of others, so it sends 64. **Your turn.**


# %% exercise="all_to_all_bytes" minutes=6 difficulty=1
def all_to_all_bytes(tokens: int, top_k: int, d_model: int, devices: int, bytes_each: int = 2) -> float:
    """Bytes that a device with so many tokens sends in one layer's forward pass: rows to experts, and answers back."""
    ### BEGIN SOLUTION
    rows = tokens * top_k * (1 - 1 / devices)
    return 2 * rows * d_model * bytes_each
    ### END SOLUTION


# %% [markdown]
# *Tensor parallelism* (张量并行) divides every matrix instead, so each device computes a part for all $nP$ tokens and an
# all-reduce adds the parts: a device sends $2(1 - 1/P)\, nP\, d$ numbers (a ring). Every device works on every token,
# whatever the router says.
#
# **Predict.** Mixtral's shape, 8 devices, 8,192 tokens on each, 2 bytes a number. How many megabytes does a device
# send in one layer by all-to-all? How many times as many with tensor parallelism?

# %%
guess_bytes = guess_times = None

sent = all_to_all_bytes(8_192, 2, 4_096, devices=8)
divided = 2 * (1 - 1 / 8) * (8 * 8_192) * 4_096 * 2

# %% folded=true
# run this cell to compare your guess
reveal("all-to-all", sent / 1e6, guess_bytes, within=1.3, because={"too small": "every token sends k rows, and the answers come back"}, shown=f"{sent / 1e6:.0f} MB")  # fmt: skip
reveal("tensor parallelism", divided / sent, guess_times, within=1.2, because={1: "there every device must add up all tokens of all devices"}, shown=f"{divided / sent:.0f} times")  # fmt: skip

# %% [markdown]
# The ratio is $P / k$: with few experts a token all-to-all is cheaper, and with $k = P$ it is not. It has costs that
# this count leaves out: many small messages, and everybody waits for the busiest expert. The two also combine:
# experts that are too large for one device are divided inside.
#
# **Try it.** DeepSeek-V3 sends each token to 8 experts. What are the two numbers for `top_k=8` on 8 devices, and on 64?
#
# ### How many tokens keep an expert busy?
#
# A product with $m$ rows does $2m$ FLOPs for each weight, and reads 2 bytes for it, so $m$ FLOPs a byte. An H100 does
# 989 TFLOP/s in bfloat16 and reads 3.35 TB/s (its data sheet), so a weight is worth reading for at least 989 / 3.35 =
# 295 rows. A dense layer has them when the batch has 295 tokens. Of $N$ experts each gets $k/N$ of the tokens. While
# a model *writes*, each sequence brings one token a step. How many different experts does a batch of $B$ tokens
# touch? If tokens chose evenly and independently, $N (1 - (1 - k/N)^B)$.

# %%
batches = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256])
touched = 8 * (1 - (1 - 2 / 8) ** batches)
rng = torch.Generator().manual_seed(0)
tried = [len(torch.rand(4, 8, generator=rng).argsort(dim=-1)[:, :2].unique()) for _ in range(2_000)]
print(f"4 tokens touch {touched[2]:.2f} of 8 experts by the formula, {np.mean(tried):.2f} in 2,000 draws")
needed = {name: 295 * experts / k for name, (_, _, experts, k) in PUBLISHED.items()}
print("tokens a batch for 295 rows an expert:", {name: f"{n:,.0f}" for name, n in needed.items()})
read = 2 * (once + touched * blocks * expert) / 1e9  # GB a step, bfloat16
dense_read = 2 * np.array([active, stored])[:, None] / 1e9 * np.ones(len(batches))

# %% folded=true
fig, ax = axes(xlabel="sequences written at the same time", ylabel="GB of weights read in a step", size=(6.8, 3.4))
ax.plot(batches, read, "o-", color=COLORS["vermillion"], label="Mixtral 8x7B")
ax.plot(batches, dense_read[0], "--", color=COLORS["blue"], label=f"dense, {active / 1e9:.1f}B: the same FLOPs a token")
ax.plot(batches, dense_read[1], ":", color=COLORS["black"], label=f"dense, {stored / 1e9:.1f}B: the same memory")
ax.set_xscale("log", base=2)
ax.set(title="One sequence reads two experts; a batch soon reads all (bfloat16)", ylim=(0, 100))
ax.legend(fontsize=9, loc="center right")
finish(fig)

# %% folded=true
claim(
    8,
    "In Mixtral's shape on 8 devices a device sends {sent:.0f} MB a layer by all-to-all, {times:.0f} times less than with tensor parallelism. To give each expert 295 rows takes {mixtral:,.0f} tokens a batch for Mixtral and {deepseek:,.0f} for DeepSeek-V3. Writing one sequence reads {one:.0f} GB a step, 16 sequences {many:.0f} of {all_of:.0f}.",
    lambda sent, times, mixtral, deepseek, one, many, all_of: (
        times == 4 and deepseek == 8 * mixtral and one < 0.3 * all_of and many > 0.95 * all_of and sent > 100
    ),
    sent=sent / 1e6,
    times=divided / sent,
    mixtral=needed["Mixtral 8x7B"],
    deepseek=needed["DeepSeek-V3"],
    one=read[0],
    many=read[4],
    all_of=2 * stored / 1e9,
)

# %% [markdown]
# So a mixture pays in training and in serving many users, where batches are large and FLOPs are what is short; its
# experts are then spread over devices so that each still gets enough rows. It pays for a single reader who has the
# memory, since few weights are read a token. It pays least in between, with a few sequences on one device: all
# experts are read, each for a row or two. And where memory is short it does not pay at all.
#
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
# | MoE needs tensor parallelism | Expert parallelism: whole experts on different devices: section 9, and run on two processes in appendix 06x. |
# | The chosen experts get no gradient through the router | The *choice* has none. The gates of the chosen have: section 3. |
# | Mixtral 8x7B has 56B parameters | Attention and embeddings exist once: section 2. |
# | A mixture is a cheap model | Cheap in FLOPs. All experts must be in memory: section 9. |
# | Hash routing is balanced | By number of token ids, not by frequency: section 6. |
# | Experts are specialists for subjects | Tokens and syntax in Mixtral; OLMoE and DeepSeek-V3 show domains too. Characters here: section 8. |
# | Balancing needs an auxiliary loss | A bias that a controller moves does it (2408.15664); DeepSeek-V3 keeps a small loss beside it. |
# | Expert choice solves balancing | For models that see the whole text; a causal one looks into the future: appendix 06x. |
# | REINFORCE and gates learn the same, one with noise | They follow different questions: section 7. |
#
# ## What you built
#
# `cs336lite.routing`: the runs of this lecture; `cs336lite results 06` computes all records. [Appendix
# 06x](appendix/06x_mixtures.ipynb) builds `cs336lite.moe`.
#
# ## Limits
#
# - Two blocks of 32 channels, 500 steps of 512 bytes. The gains of mixtures in the literature (2101.03961,
#   2202.01169) are at sizes and lengths that no laptop reaches; the figures here are about this scale only.
# - A byte has 256 values, so a table of bytes knows much. With a vocabulary of 100,000 words hash routing is
#   another thing.
# - The policy's reward is each token's own loss, though its choice also moves later tokens. Its baseline is the
#   mean of a batch; Clark et al. use a learned one.
# - The bits of section 8 are of one model. Section 9 counts; it measures no network.
#
# ## Exercises for longer evenings
#
# - Give the hash table pairs of bytes instead of bytes. Are the loads more even, and is the loss lower?
# - Add noise to the logits before top-k, as Shazeer et al. did. Does it help the first 50 steps?
# - Let `ExpertParallel` of the appendix compute while it waits: which part of a layer needs no tokens from elsewhere?
#
# ## Sources
#
# Shazeer et al. 2017 (arXiv 1701.06538) · GShard (2006.16668) · Switch (2101.03961) · Hash layers (2106.04426) ·
# ST-MoE (2202.08906) · Clark et al. 2022 (2202.01169) · MegaBlocks (2211.15841) · Bengio et al. 2015 (1511.06297) ·
# Williams, *Machine Learning* 8, 1992 · Mixtral (2401.04088) · DeepSeekMoE (2401.06066) · OLMoE (2409.02060) ·
# loss-free balancing (2408.15664) · DeepSeek-V3 (2412.19437).
#
# ## Next
#
# Lecture **07 · GPU kernels**: what happens inside the products that this one has grouped.

# %%
finished("06_moe")
