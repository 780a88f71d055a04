# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: router, minutes: 180, prerequisites: [02_tensors], device: CPU}
# ---

# %% [markdown]
# # Assignment 5 · A router for a mixture of experts (混合专家)
#
# **about 3 hours of work · prerequisites: PyTorch tensors and gradients (lecture 02) · device: CPU · 100 points**
#
# A feed-forward layer spends the same work on every token, whatever the token is. A *mixture of experts* (MoE) has many
# such layers side by side, the *experts* (专家), and for each token a *router* (路由器) chooses a few of them. So a model can
# have many times the parameters and cost no more for a token. You will write the two pieces that all of it hangs on: the
# router, with the losses that keep it in order, and *dispatch*, which carries tokens to their experts and back. Lecture
# 06 builds its layers on them.
#
# | exercise | what you write | points |
# |---|---|---:|
# | `gates` | which experts, and how much of each | 27 |
# | `balance` | the load-balancing loss | 25 |
# | `z_loss` | the router z-loss | 9 |
# | `router` | all of it as a module, in float32 | 8 |
# | `dispatch` | tokens to their experts and back | 31 |
#
# ## How to work
#
# - Replace each `raise NotImplementedError` with your code. Keep names and arguments as they are; add cells and helper
#   functions wherever you like.
# - `check("a5_moe_router", "gates")` runs the public checks of an exercise, `hint("a5_moe_router", "gates")` gives one
#   hint more each time you ask, and `status()` shows where you stand. Hidden checks follow when you hand in. They judge
#   the same things on other inputs, and only through `TopKRouter` and `dispatch`: so exercises 1 to 3 earn their points
#   once exercise 4 puts them together. How the two work inside is up to you. An exercise that is not solved yet costs its
#   own points only.
# - In each exercise most of the points are for all of it together, on ordinary tokens `(batch, seq, d_model)`, with
#   gradients; the rest are for its single rules.
# - Everything in torch is yours to use, `softmax`, `topk` and `logsumexp` among it.
# - A cell whose first line is `#| export` becomes a part of the module `cs336lite.router`: keep that line. Functions,
#   classes and imports that such a cell needs go along from whatever cell they stand in.
# - The last cell writes this module into your copy of the package and runs the public checks on it. It reads the file of
#   this notebook, so save first (Ctrl+S, on a Mac Cmd+S).
#
# ## What differs from CS336
#
# CS336 has no router to hand in, and other code has other habits. These are ours; each costs a point or two where it is
# not kept, and no more:
#
# | here | elsewhere |
# |---|---|
# | `gate`, an `nn.Linear` without a bias | `router`, `wg`, a bare parameter, a weight the other way round |
# | a `RouterOutput` with five fields | a tuple or dict of its own |
# | gates, logits and losses in float32 (float64 for float64) | the dtype of `x` |
# | experts by descending probability | `topk(..., sorted=False)` |
# | a balancing loss of 1 when probabilities are uniform | $k$ times as much (Hugging Face) |
# | a ValueError for a `top_k` that cannot be, and for an index of no expert | an `assert`, or nothing |
#
# Above each exercise stand its difficulty, how much the rest depends on it, and the minutes it takes most people.
#
# Sources: Shazeer et al. 2017, [Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts
# Layer](https://arxiv.org/abs/1701.06538); Fedus et al. 2021, [Switch Transformers](https://arxiv.org/abs/2101.03961);
# Zoph et al. 2022, [ST-MoE: Designing Stable and Transferable Sparse Expert
# Models](https://arxiv.org/abs/2202.08906); Jiang et al. 2024, [Mixtral of Experts](https://arxiv.org/abs/2401.04088).

# %% locked="setup"
from cs336lite.course import check, hint, status

# %%
#| export
"""A router for a mixture of experts (混合专家): the top k of a softmax, its two losses, and dispatch without a token loop.

Shazeer et al. 2017, https://arxiv.org/abs/1701.06538; Fedus et al. 2021, "Switch Transformers",
https://arxiv.org/abs/2101.03961; Zoph et al. 2022, "ST-MoE", https://arxiv.org/abs/2202.08906.

Shapes: x is (..., d_model), whatever stands in front; each of its vectors is a token. ``experts`` is num_experts, ``k``
is top_k: how many of them each token goes to. The weights of a token's experts are its gates.

Built in assignments/source/a5_moe_router/a5_moe_router.ipynb.
"""

# %% [markdown]
# ## The layer
#
# The router gives each expert a *logit* for the token $x$, a softmax turns logits into probabilities, and the $k$ experts
# with the greatest ones are asked. Their answers are added up with *gates* (门控) $w$ in front:
#
# $$h = W_g\, x, \qquad p = \text{softmax}(h), \qquad T = \text{the } k \text{ greatest of } p, \qquad
# y = \sum_{e \in T} w_e(x)\, E_e(x)$$
#
# The choice $T$ is not differentiable: a little more or less of a logit changes nothing at all, or suddenly another
# expert. The gates of the chosen experts are. They are the only road on which the loss of the model tells the router
# what it should have done.

# %%
#| export
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

# %% [markdown]
# ## 1 · Gates (`gates`)
#
# **Difficulty ●●○○○ · Importance ●●●●● · 30 minutes · 27 points**
#
# Out of the logits of all experts: which $k$, and how much of each.
#
# $$w_e = \begin{cases} p_e & \text{renormalize} = \text{False} \\
# p_e \,/ \sum_{j \in T} p_j & \text{renormalize} = \text{True} \end{cases}
# \qquad p = \text{softmax over all experts}$$
#
# With probabilities 0.5, 0.3, 0.2 and $k = 2$ the gates are 0.5 and 0.3, or renormalised 0.625 and 0.375. Both are in use:
# Mixtral (2401.04088) takes the softmax of the $k$ greatest logits, which is the same as to renormalise; Switch
# (2101.03961, $k = 1$) and DeepSeekMoE (2401.06066) keep the probabilities as they are.
#
# | | shape | |
# |---|---|---|
# | `logits` | `(..., experts)` | floating point |
# | `weights` | `(..., k)` | by descending probability |
# | `indices` | `(..., k)` | the experts that belong to them; int64 |
# | `probabilities` | `(..., experts)` | of all experts |
#
# Rules:
# - $1 \le k \le$ the number of experts, both ends included. `...` may be any dimensions, or none at all.
# - A token's experts are $k$ **different** ones, also when logits are equal (any order will do) and when all but one of
#   the probabilities are so small that they are 0.
# - Gradients flow through the gates, and through the sum they are divided by. None flows through the choice.


# %% solution="gates"
#| export
def top_k_gates(
    logits: Float[Tensor, "*tokens experts"], top_k: int, renormalize: bool = True
) -> tuple[Float[Tensor, "*tokens k"], Int[Tensor, "*tokens k"], Float[Tensor, "*tokens experts"]]:
    """(weights, indices, probabilities): the ``top_k`` greatest of a softmax over all experts, in descending order.

    With ``renormalize`` the weights of a token are divided by their sum.

    >>> weights, indices, _ = top_k_gates(torch.tensor([0.2, 0.5, 0.3]).log(), 2, renormalize=False)
    >>> indices.tolist(), [round(w, 3) for w in weights.tolist()]
    ([1, 2], [0.5, 0.3])
    """
    ### BEGIN SOLUTION
    if not 1 <= top_k <= logits.shape[-1]:
        raise ValueError(f"top_k is {top_k}, and there are {logits.shape[-1]} experts")
    probabilities = torch.softmax(logits, dim=-1)
    weights, indices = torch.topk(probabilities, top_k, dim=-1)
    if renormalize:
        weights = weights / weights.sum(dim=-1, keepdim=True)
    return weights, indices, probabilities
    ### END SOLUTION


# %% grade="gates" points=27
check("a5_moe_router", "gates")

# %% [markdown]
# ### Look: what a router with $k = 1$ learns
#
# A gate that is renormalised alone is $p / p$. **Predict**: how large is the gradient that the router gets from the
# model for $k = 1$, when the gates are renormalised? Write a number in place of `None`.

# %%
from cs336lite.course.measure import reveal

guess = None
for k in (1, 2):
    for renormalize in (True, False):
        logits = torch.randn(100, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
        weights, _, _ = top_k_gates(logits, k, renormalize)
        (weights * torch.arange(1.0, k + 1)).sum().backward()  # a loss that likes one expert more than the other
        largest = logits.grad.abs().max().item()
        print(f"k = {k}, renormalize = {renormalize!s:>5}: largest gradient {largest:.4f}")
        assert (largest < 1e-6) == (k == 1 and renormalize)
        if k == 1 and renormalize:
            why = "p / p is 1, whatever p is, and a constant has no gradient"
            reveal("largest gradient for k = 1, renormalised", round(largest, 6), guess, because={"too large": why})

# %% [markdown]
# So with $k = 1$ a renormalised router hears nothing of what its choices do to the loss, and Switch does not renormalise.
#
# ## 2 · The load-balancing loss (`balance`)
#
# **Difficulty ●●●○○ · Importance ●●●●● · 35 minutes · 25 points**
#
# Left alone, a router tends to send everything to a few experts: whoever is chosen more often learns faster, and so is
# chosen more often (1701.06538, section 4). *Load balancing* (负载均衡) adds a loss to that of the model (2101.03961,
# equations 4 to 6):
#
# $$L_{\text{balance}} = N \sum_{e=1}^{N} f_e\, P_e, \qquad
# f_e = \frac{\text{assignments to expert } e}{k \cdot \text{tokens}}, \qquad
# P_e = \frac{1}{\text{tokens}} \sum_{\text{tokens}} p_e$$
#
# $f_e$ is what happened, a count that has no gradient. $P_e$ is what the router wanted, and has one. Their product
# pushes down the probability of an expert in proportion to its load. The factor $N$, the number of experts, makes the loss
# **1 when the probabilities are uniform**, however many experts there are; with everything on one expert and $k = 1$ it is
# near $N$.
#
# With $k > 1$ a token makes $k$ *assignments* (分配), and the shares of all assignments add up to 1. Some code counts tokens
# instead, and its loss is $k$ times as large. $P$ is the mean of the probabilities of **all** experts, not of the gates.
#
# Rules:
# - One number for all tokens together, whatever dimensions they stand in: not one for each text, nor a mean of those.
# - An expert without tokens has $f_e = 0$, and counts among the $N$.


# %% solution="balance"
#| export
def load_balancing_loss(
    probabilities: Float[Tensor, "*tokens experts"], indices: Int[Tensor, "*tokens k"]
) -> Float[Tensor, ""]:
    """num_experts * sum_e f_e P_e: shares of all assignments times mean probabilities (2101.03961, equation 4).

    >>> load_balancing_loss(torch.tensor([[0.5, 0.5], [0.75, 0.25]]), torch.tensor([[0], [0]])).item()
    1.25
    """
    ### BEGIN SOLUTION
    if not indices.numel():
        return probabilities.sum()  # of no tokens: 0
    num_experts = probabilities.shape[-1]
    shares = torch.bincount(indices.flatten(), minlength=num_experts) / indices.numel()
    wanted = probabilities.reshape(-1, num_experts).mean(dim=0)
    return num_experts * (shares.to(wanted.dtype) * wanted).sum()
    ### END SOLUTION


# %% grade="balance" points=25
check("a5_moe_router", "balance")

# %% [markdown]
# ## 3 · The router z-loss (`z_loss`)
#
# **Difficulty ●○○○○ · Importance ●●●○○ · 10 minutes · 9 points**
#
# A softmax does not feel a number that is added to all logits, so nothing keeps logits small. Large ones are trouble:
# rounded to bfloat16, a logit of 200 is known only to the nearest whole number, and $e$ to the power of the error is what
# a probability is wrong by. The *router z-loss* (2202.08906, equation 5) pulls them back:
#
# $$L_z = \frac{1}{\text{tokens}} \sum_{\text{tokens}} \Big( \log \sum_{e=1}^{N} e^{h_e} \Big)^2$$
#
# Rules:
# - A sum over the experts of one token inside, the mean over all tokens outside. Logits of 200 are no problem: $e^{200}$ is
#   one, so look for a function that never computes it.


# %% solution="z_loss"
#| export
def router_z_loss(logits: Float[Tensor, "*tokens experts"]) -> Float[Tensor, ""]:
    """The mean over tokens of logsumexp(logits) ** 2 (2202.08906, equation 5).

    >>> router_z_loss(torch.tensor([[-1000.0, 3.0], [1.0, -1000.0]])).item()
    5.0
    """
    ### BEGIN SOLUTION
    squares = torch.logsumexp(logits, dim=-1).square()
    return squares.mean() if squares.numel() else squares.sum()  # of no tokens: 0
    ### END SOLUTION


# %% grade="z_loss" points=9
check("a5_moe_router", "z_loss")

# %% [markdown]
# ## 4 · The router (`router`)
#
# **Difficulty ●●○○○ · Importance ●●●●○ · 30 minutes · 8 points**
#
# One linear layer, `gate`, without a bias, and the three functions above.
#
# | | shape | |
# |---|---|---|
# | `x` | `(..., d_model)` | any floating-point dtype |
# | `weights`, `indices` | `(..., k)` | `indices` int64 |
# | `logits` | `(..., num_experts)` | |
# | `load_balancing_loss`, `z_loss` | `()` | scalars, not yet multiplied by a coefficient |
#
# Rules:
# - **Computed and returned in float32**, also when `x`, or the whole model with `gate` in it, is bfloat16 or float16;
#   `float64` when `x` is float64. Rounded logits change who is chosen, and a float16 ends at 65,504, where a large logit,
#   or the square in the z-loss, no longer fits. Switch calls this selective precision (section 2.4). So convert `x` and the
#   weight before the product; what has been rounded cannot be made exact afterwards.
# - `gate.weight` is the only parameter, `(num_experts, d_model)`: published routers are loaded by such names.
# - A `top_k` below 1 or above `num_experts` is a `ValueError`.
# - `x` stays as it is, and gradients flow to `x` and to `gate.weight` from the gates and from both losses.


# %%
#| export
class RouterOutput(NamedTuple):
    """What a `TopKRouter` says of some tokens."""

    weights: Float[Tensor, "*tokens k"]  # the gates, by descending probability
    indices: Int[Tensor, "*tokens k"]  # the experts that they belong to
    logits: Float[Tensor, "*tokens experts"]
    load_balancing_loss: Float[Tensor, ""]
    z_loss: Float[Tensor, ""]


# %% solution="router"
#| export
class TopKRouter(nn.Module):
    """Token-choice routing: each token goes to the ``top_k`` experts of which a linear layer thinks most.

    Args:
        d_model: size of a token's vector.
        num_experts: how many experts there are to choose from.
        top_k: how many each token goes to.
        renormalize: divide the gates of a token by their sum; with ``top_k`` 1 they are then always 1.

    Raises ValueError unless 1 <= top_k <= num_experts.
    """

    def __init__(self, d_model: int, num_experts: int, top_k: int, *, renormalize: bool = True) -> None:
        ### BEGIN SOLUTION
        super().__init__()
        if not 1 <= top_k <= num_experts:
            raise ValueError(f"top_k is {top_k}: each token goes to 1 to {num_experts} of {num_experts} experts")
        self.num_experts, self.top_k, self.renormalize = num_experts, top_k, renormalize
        self.gate = nn.Linear(d_model, num_experts, bias=False)
        ### END SOLUTION

    def forward(self, x: Float[Tensor, "*tokens d_model"]) -> RouterOutput:
        """Experts, gates and losses for the tokens of ``x``, in float32, or in float64 when ``x`` is."""
        ### BEGIN SOLUTION
        dtype = torch.promote_types(x.dtype, torch.float32)
        with torch.autocast(x.device.type, enabled=False):  # it would round to bfloat16 all the same
            logits = nn.functional.linear(x.to(dtype), self.gate.weight.to(dtype))
        weights, indices, probabilities = top_k_gates(logits, self.top_k, self.renormalize)
        return RouterOutput(
            weights, indices, logits, load_balancing_loss(probabilities, indices), router_z_loss(logits)
        )
        ### END SOLUTION


# %% grade="router" points=8
check("a5_moe_router", "router")

# %% [markdown]
# ## 5 · Dispatch (`dispatch`)
#
# **Difficulty ●●●●○ · Importance ●●●●● · 70 minutes · 31 points**
#
# Now $y = \sum_{e \in T} w_e(x)\, E_e(x)$ for many tokens at once. Each expert is a matrix product at heart, and a
# computer is good at a few large ones, not at many small ones. So gather the tokens of an expert, call it **once** with all
# of them, and carry the results back, with the gates, to where the tokens came from:
#
# | token | goes to | | expert | is called with | | token | gets back |
# |---|---|---|---|---|---|---|---|
# | `a` | 2, 0 | | 0 | `a`, `c` | | `a` | $w_{a,2} E_2(a) + w_{a,0} E_0(a)$ |
# | `b` | 1, 2 | | 1 | `b` | | `b` | $w_{b,1} E_1(b) + w_{b,2} E_2(b)$ |
# | `c` | 2, 0 | | 2 | `a`, `b`, `c` | | `c` | $w_{c,2} E_2(c) + w_{c,0} E_0(c)$ |
#
# | | shape | |
# |---|---|---|
# | `x` | `(..., d_model)` | |
# | `weights`, `indices` | `(..., k)` | as the router returns them, or others: gates need not add up to 1 |
# | `experts` | a sequence | of callables `(n, d_model)` → `(n, d_model)` |
# | result | `(..., d_model)` | the dtype of `x` |
#
# Rules:
# - **No loop over tokens**: the number of calls must not grow with the number of tokens, neither those of the experts
#   (at most one for each expert and each of the $k$ places) nor those of torch. A loop over the experts is fine.
# - An expert gets its own tokens and no others, `k * tokens` rows in all, always as a matrix `(n, d_model)`, for one token
#   too, and in the dtype of `x` although the gates are float32. One without tokens is skipped, or called with `n = 0`.
# - No token is dropped, however many want the same expert. (Real systems set a *capacity*, 容量; lecture 06 does.)
# - The gate multiplies what the expert returns, not what it is given.
# - An expert that stands twice in a row of `indices` counts twice. A `TopKRouter` never does that; other routers may.
# - An index below 0, or of more experts than there are, is a `ValueError`.
# - `x`, `weights` and `indices` need not be contiguous. They stay as they are, as does what an expert returns (autograd may
#   need it: `y * gate`, not `y *= gate`), and gradients flow to `x`, to the weights and to the experts.


# %% solution="dispatch"
#| export
def dispatch(
    x: Float[Tensor, "*tokens d_model"],
    weights: Float[Tensor, "*tokens k"],
    indices: Int[Tensor, "*tokens k"],
    experts: Sequence[Callable[[Tensor], Tensor]] | nn.ModuleList,
) -> Float[Tensor, "*tokens d_model"]:
    """The sum over a token's experts of weight * expert(token), in the dtype of ``x``; each expert is called once.

    Raises ValueError for an index of an expert that there is not.

    >>> twice_and_thrice = [lambda z: 2 * z, lambda z: 3 * z]
    >>> dispatch(torch.tensor([[1.0], [10.0]]), torch.ones(2, 1), torch.tensor([[1], [0]]), twice_and_thrice).tolist()
    [[3.0], [20.0]]
    """
    ### BEGIN SOLUTION
    tokens, chosen = x.reshape(-1, x.shape[-1]), indices.reshape(-1)
    wrong = chosen[(chosen < 0) | (chosen >= len(experts))]
    if len(wrong):
        raise ValueError(f"an index is {int(wrong[0])}, and there are {len(experts)} experts")
    counts = torch.bincount(chosen, minlength=len(experts)).tolist()
    order = chosen.argsort(stable=True)  # assignments, sorted by expert
    source = order // indices.shape[-1]  # the token of each
    parts = tokens[source].split(counts)
    outputs = [expert(part) for expert, part in zip(experts, parts) if len(part)]
    if not outputs:
        return 0 * x  # no tokens
    weighted = torch.cat(outputs) * weights.reshape(-1)[order, None]  # in the better of the two dtypes
    combined = weighted.new_zeros(tokens.shape).index_add(0, source, weighted)
    return combined.to(x.dtype).reshape(x.shape)
    ### END SOLUTION


# %% grade="dispatch" points=31
check("a5_moe_router", "dispatch")

# %% [markdown]
# ### Look: who is asked
#
# Eight experts and a router learn to imitate a function, of tokens that have something in common, as those of a model
# do: here their mean is not 0. Once with the error alone as the loss, and once with a hundredth of the load-balancing loss
# added. **Predict**: which share of all assignments, from 0 to 1, do the two busiest of the eight experts get without
# that loss? Write it in place of `None`.


# %%
def busiest_two(coefficient: float, seed: int) -> tuple[float, float]:
    """Which share of the assignments two of eight experts have after 200 steps, and the error then."""
    torch.manual_seed(seed)
    teacher = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 16)).requires_grad_(False)
    experts = nn.ModuleList(nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16)) for _ in range(8))
    router = TopKRouter(16, num_experts=8, top_k=2)
    adam = torch.optim.Adam([*router.parameters(), *experts.parameters()], lr=1e-2)
    for _ in range(200):
        x = torch.randn(256, 16) + 1
        weights, indices, _, balance, _ = router(x)
        error = (dispatch(x, weights, indices, experts) - teacher(x)).square().mean()
        adam.zero_grad()
        (error + coefficient * balance).backward()
        adam.step()
    load = torch.bincount(indices.flatten(), minlength=8) / indices.numel()
    return load.sort().values[-2:].sum().item(), error.item()


guess = None
shares_alone = []
torch.set_num_threads(1)  # these tensors are too small to be shared
for seed in range(3):
    alone, balanced = busiest_two(0.0, seed), busiest_two(0.01, seed)
    shares, errors = (f"{a:.{n}f} alone, {b:.{n}f} balanced" for a, b, n in zip(alone, balanced, (2, 4)))
    print(f"seed {seed}: the two busiest get {shares}; mean squared error {errors}")
    assert balanced[0] < 0.45 < 0.6 < alone[0]
    shares_alone.append(alone[0])
why = "even loads would give two of eight a quarter, and nothing in the error asks for even loads"
reveal("the two busiest without that loss, on average", sum(shares_alone) / 3, guess, because={"too small": why})

# %% [markdown]
# Left alone, the router leaves most of its experts idle; even loads would be 0.25 for two of eight. Look at the errors as
# well: balance is not always paid for by a better fit, least of all in a task that two experts can do. What is bought
# is that no parameters lie about unused and, on many devices, that nobody waits for the busiest one.

# %% [markdown]
# ## Where you stand
#
# Run `status()`, then save the notebook and run the last cell: your solution becomes `cs336lite.router`, and the layers
# of lecture 06 use it.

# %%
status()

# %% locked="export"
from cs336lite.course import export_solution

export_solution("a5_moe_router")
