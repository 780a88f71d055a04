# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: lion, minutes: 120, prerequisites: [02_tensors], device: CPU}
# ---

# %% [markdown]
# # Assignment 4 · Lion
#
# **about 2 hours of work · prerequisites: PyTorch tensors (lecture 02) · device: CPU · 100 points**
#
# An *optimizer* (优化器) turns gradients into new parameters. AdamW has been the usual one for a decade. Lion (*evolved sign
# momentum*) was not thought up by a person: a program search (程序搜索) bred and simplified small programs until this one was
# left. It needs four lines, keeps one number a parameter where AdamW keeps two, and moves **every** parameter by the same
# amount in each step. You write it as a `torch.optim.Optimizer`, with all that a training loop expects of one; lecture 04
# trains with it.
#
# | exercise | what you write | points |
# |---|---|---:|
# | `direction` | which way each parameter goes | 20 |
# | `update` | one step of one tensor, in place | 30 |
# | `foreach` | one step of many tensors in a few calls | 15 |
# | `optimizer` | the class: groups, state, closures, clear errors | 35 |
#
# ## How to work
#
# - Replace each `raise NotImplementedError` with your code. Keep names and arguments as they are; add cells and helper
#   functions wherever you like.
# - `check("a4_lion", "direction")` runs the public checks of an exercise, `hint("a4_lion", "direction")` gives one hint
#   more each time you ask, and `status()` shows where you stand. Hidden checks follow when you hand in. They judge the
#   same things on other inputs, through `Lion` and `lion_update_foreach_`; how these work inside is up to you. Where `Lion`
#   does not work yet, `lion_direction` and `lion_update_` are judged by themselves.
# - 40 of the 100 points are for what works together: a direction, an update, a list of tensors, a short training.
# - PyTorch has no Lion, and packages that have one are not installed where your code is graded. The `step` of PyTorch's own
#   optimizers raises an error there: derive from `torch.optim.Optimizer` and from no other.
# - A cell whose first line is `#| export` becomes a part of the module `cs336lite.lion`: keep that line. Functions,
#   classes and imports that such a cell needs go along from whatever cell they stand in.
# - The last cell writes this module into your copy of the package and runs the public checks on it. It reads the file of
#   this notebook, so save first (Ctrl+S, on a Mac Cmd+S).
#
# ## What differs from CS336
#
# Stanford's CS336 has you write AdamW in its first assignment and has no Lion. What you bring from there:
#
# | in AdamW of CS336 | here |
# |---|---|
# | decay comes after the step | decay comes **before** the step, as in `torch.optim.AdamW` |
# | `p.data -= ...`, and state in `self.state[p]` | the same; `torch.no_grad()` around it all does without `.data` |
# | `t` counts steps, for the correction of the bias | nothing to count, nothing to correct |
# | only `lr` is looked at, and below 0 raises | `lr`, `weight_decay` and both betas are looked at (exercise 4) |
# | closures may run as things are | closures run with gradients enabled, wherever `step` is called |
# | sparse gradients are not spoken of | they raise, before anything has changed |
#
# Above each exercise stand its difficulty, how much the rest depends on it, and the minutes it takes most people.
#
# Sources: Chen et al. 2023, [Symbolic Discovery of Optimization Algorithms](https://arxiv.org/abs/2302.06675), algorithm 2
# and section 5; for decoupled weight decay Loshchilov and Hutter 2019, [Decoupled Weight Decay
# Regularization](https://arxiv.org/abs/1711.05101).

# %% locked="setup"
from cs336lite.course import check, hint, status

# %%
#| export
"""The Lion optimizer: every parameter moves by the learning rate, in the direction of a sign.

Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", https://arxiv.org/abs/2302.06675, algorithm 2.

    p <- p (1 - lr wd);   p <- p - lr sign(b1 m + (1 - b1) g);   m <- b2 m + (1 - b2) g

Shapes: a parameter p, its gradient g and its momentum m are alike in shape, dtype and device. Names that end with an
underscore change their arguments, as in PyTorch.

Built in assignments/source/a4_lion/a4_lion.ipynb.
"""

# %%
#| export
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

# %% [markdown]
# ## The algorithm
#
# For each parameter $p$ with gradient $g$, and a momentum $m$ (动量) that begins at 0:
#
# $$\begin{aligned}
# c &= \beta_1 m + (1 - \beta_1)\, g && \text{what to follow: momentum and gradient, interpolated (插值)} \\
# p &\leftarrow p\, (1 - \text{lr} \cdot \lambda) && \text{decoupled weight decay (解耦权重衰减)} \\
# p &\leftarrow p - \text{lr} \cdot \operatorname{sign}(c) && \text{the step} \\
# m &\leftarrow \beta_2 m + (1 - \beta_2)\, g && \text{only now the momentum}
# \end{aligned}$$
#
# Two interpolations of the same two things. With the defaults $\beta_1 = 0.9$ and $\beta_2 = 0.99$ the momentum remembers
# about the last 100 gradients, and the direction gives the newest one ten times the weight that the momentum gives it. The
# order matters: $c$ is made from the momentum of the steps **before**.
#
# | often said | what is so |
# |---|---|
# | β = (0.95, 0.98), lr 5e-5 and weight decay 0.8 are Lion's settings | the defaults are β = (0.9, 0.99), found by the search. (0.95, 0.98) is what the paper took for its language models, for stability; the rest belongs to a single run |
# | Lion has a good learning rate of its own | relative to AdamW: "typically 3–10× smaller", and weight decay 3–10× larger, so that lr · λ stays as it was (section 5) |
# | Lion is better than AdamW | it was in the paper's settings, more so with large batches, and the paper has a section on its limits. Lecture 04 compares the two with both tuned |
# | Lion corrects its bias as Adam does | there is nothing to correct: a sign does not change with the scale of what it is taken of |
#
# ## 1 · Direction (`direction`)
#
# **Difficulty ●○○○○ · Importance ●●●●● · 15 minutes · 20 points**
#
# $$\operatorname{sign}\big(\beta_1 m + (1 - \beta_1)\, g\big) \in \{-1, 0, 1\}$$
#
# With $\beta_1 = 0.9$, a momentum of 1 and a gradient of −5 give $0.9 - 0.5 = 0.4$, so 1: the parameter still goes where the
# momentum says. A gradient of −10 gives $0.9 - 1 = -0.1$, so −1.
#
# Rules:
# - $\operatorname{sign}(0) = 0$: rows of an embedding whose tokens have not occurred do not move.
# - The result is a new tensor; the gradient and the momentum stay as they are.


# %% solution="direction"
#| export
def lion_direction(grad: Float[Tensor, "..."], momentum: Float[Tensor, "..."], beta1: float) -> Float[Tensor, "..."]:
    """The signs of ``beta1 * momentum + (1 - beta1) * grad``: -1, 0 or 1, in a new tensor.

    >>> lion_direction(torch.tensor([-5.0, -10.0, 0.0]), torch.tensor([1.0, 1.0, 0.0]), beta1=0.9).tolist()
    [1.0, -1.0, 0.0]
    """
    ### BEGIN SOLUTION
    return momentum.lerp(grad, 1 - beta1).sign_()  # lerp: one pass over memory, and in bfloat16 one rounding
    ### END SOLUTION


# %% grade="direction" points=20
check("a4_lion", "direction")

# %% [markdown]
# ### Look: how large a step is
#
# Lion's step has the size lr in every parameter. AdamW divides a mean of gradients by the root of a mean of their squares.
# **Predict**: when gradients are pure noise, how large is AdamW's step, in units of lr? And when they are always the same?
# Write both numbers in place of `None`; the cell compares.


# %%
from cs336lite.course.measure import reveal

guess = None  # two numbers: (for noise, for gradients that are always the same)


def mean_step(correlation: float, steps: int = 200) -> float:
    """AdamW's root mean square step in units of lr, for gradients of mean square 1, of which a part stays the same."""
    random = torch.Generator().manual_seed(0)
    p, fixed = torch.zeros(10_000, requires_grad=True), torch.randn(10_000, generator=random)
    adamw = torch.optim.AdamW([p], lr=1.0, weight_decay=0.0)
    for _ in range(steps):
        noise = torch.randn(10_000, generator=random)
        p.grad = correlation**0.5 * fixed + (1 - correlation) ** 0.5 * noise
        before = p.detach().clone()
        adamw.step()
    return float((p - before).detach().square().mean().sqrt())


for correlation in (0.0, 0.01, 0.1, 0.5, 1.0):
    step = mean_step(correlation)
    print(
        f"{correlation:4.0%} of the gradient stays the same: AdamW steps by {step:.2f} lr, Lion by {1 / step:.1f} times that"
    )
noise, same = mean_step(0.0), mean_step(1.0)
assert 3 < 1 / noise < 10 and 0.9 < same < 1.1
why_one = "the mean of noisy gradients is small and the mean of their squares is not, so the quotient is well below 1"
why_none = "the mean reaches back only some ten gradients, so noise does not cancel in it"
shown = f"{noise:.2f} for noise, {same:.2f} for gradients that are always the same"
reveal("AdamW's step, in units of lr", (noise, same), guess, because={(1, 1): why_one, (0, 1): why_none}, shown=shown)

# %% [markdown]
# Gradients of small batches are mostly noise, and then AdamW's step is a fraction of its learning rate, while a sign is 1
# whatever it is the sign of. That is one reason for "3–10× smaller".
#
# ## 2 · The update (`update`)
#
# **Difficulty ●●○○○ · Importance ●●●●● · 30 minutes · 30 points**
#
# One step of one tensor: decay, step, momentum.
#
# By hand: $p = 2$, $m = 0$, $g = 3$ with lr 0.5, $\lambda = 0.1$, $\beta = (0.9, 0.99)$. The decay leaves
# $2 \cdot (1 - 0.05) = 1.9$, the step leads to $1.9 - 0.5 = 1.4$, and the momentum becomes $0.03$.
#
# Rules:
# - **In place** (原地): other parts of the program hold the same parameter, and must see what becomes of it. The momentum
#   changes in place too; the gradient is only read.
# - Weight decay shrinks the **parameter**, by lr · λ. It has no say in the direction: in $\operatorname{sign}(c + \lambda p)$ it
#   would be lost or be everything.
# - The function is called where gradients are off (`torch.no_grad`), so that in-place changes are allowed.


# %% solution="update"
#| export
def lion_update_(
    p: Float[Tensor, "..."],
    grad: Float[Tensor, "..."],
    momentum: Float[Tensor, "..."],
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> None:
    """One step of Lion for one tensor: changes ``p`` and ``momentum``; ``grad`` stays as it is.

    >>> p, momentum = torch.tensor([2.0]), torch.zeros(1)
    >>> lion_update_(p, torch.tensor([3.0]), momentum, lr=0.5, betas=(0.9, 0.99), weight_decay=0.1)
    >>> print(f"{p.item():.2f} {momentum.item():.2f}")
    1.40 0.03
    """
    ### BEGIN SOLUTION
    direction = lion_direction(grad, momentum, betas[0])
    if weight_decay:
        p.mul_(1 - lr * weight_decay)
    p.add_(direction, alpha=-lr)
    momentum.lerp_(grad, 1 - betas[1])
    ### END SOLUTION


# %% grade="update" points=30
check("a4_lion", "update")

# %% [markdown]
# ### Given: the same in pieces
#
# An update does hardly any arithmetic: its time is the time in which memory delivers (lecture 02, arithmetic intensity).
# Each operation of yours reads whole tensors and writes one back. For a tensor larger than the processor's cache (缓存),
# every operation fetches everything from memory again. Done piece by piece, a piece comes from memory once, and
# the operations after the first find it in the cache.
#
# Your function works on any piece, because Lion treats each number by itself. **Predict**: what is saved for 8 million
# parameters? Write the time in pieces as a part of the whole time, 0.8 for four fifths. (Measure on a machine that is
# idle: each piece is shared among threads, which wait for each other.)


# %%
#| export
PIECE = 2**16
"""Numbers a piece: three such tensors and the direction fit into a cache, and two threads have enough to share."""


def lion_update_in_pieces_(
    p: Float[Tensor, "..."],
    grad: Float[Tensor, "..."],
    momentum: Float[Tensor, "..."],
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> None:
    """As `lion_update_`, on a large tensor piece by piece, which is faster on a CPU."""
    tensors = (p, grad, momentum)
    if p.numel() <= PIECE or not all(tensor.is_contiguous() for tensor in tensors):
        lion_update_(p, grad, momentum, lr, betas, weight_decay)
        return
    for piece in zip(*(tensor.view(-1).split(PIECE) for tensor in tensors)):
        lion_update_(*piece, lr, betas, weight_decay)


# %% tags=["timing"]
import statistics
import time

guess = None


def seconds(update: Callable, tensors: list[Tensor]) -> float:
    start = time.perf_counter()
    update(*tensors, 1e-4, (0.9, 0.99), 0.1)
    return time.perf_counter() - start


with torch.no_grad():
    tensors = [torch.ones(2048, 4096), torch.ones(2048, 4096), torch.zeros(2048, 4096)]
    turns = [(seconds(lion_update_, tensors), seconds(lion_update_in_pieces_, tensors)) for _ in range(7)]
    whole, pieces = (statistics.median(turn) for turn in zip(*turns))
print(f"8.4 million parameters: whole {1e3 * whole:.0f} ms, in pieces {1e3 * pieces:.0f} ms")
reveal("in pieces, as a part of the whole time", pieces / whole, guess)

# %% [markdown]
# ## 3 · Many tensors at once (`foreach`)
#
# **Difficulty ●●○○○ · Importance ●●○○○ · 20 minutes · 15 points**
#
# On a GPU another cost rules. Each operation is a kernel (核函数) that the CPU has to launch, in some microseconds, and a model
# of 100 tensors needs 500 launches a step, most of them for a handful of work. PyTorch has operations on **lists** of
# tensors, which take a few launches for all: `torch._foreach_add_`, `torch._foreach_mul_`, `torch._foreach_sign_`,
# `torch._foreach_lerp_` and more. Its own optimizers use them. With an underscore at the end they change the tensors of the
# first list; without one they return a list of new tensors.
#
# Rules:
# - The same as `lion_update_` on each triple, in place; the gradients are only read.
# - The number of operations must not depend on how many tensors there are. (It is counted, not timed: on a CPU this way is
#   not faster, since there each operation of a list goes through all of memory.)
# - All tensors in the lists have one dtype and one device. There is at least one.


# %% solution="foreach"
#| export
def lion_update_foreach_(
    params: list[Tensor],
    grads: list[Tensor],
    momenta: list[Tensor],
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> None:
    """One step of Lion for many tensors of one dtype and device, in as many operations as for one.

    Changes ``params`` and ``momenta``; needs memory for one direction per parameter while it runs.
    """
    ### BEGIN SOLUTION
    directions = torch._foreach_lerp(momenta, grads, 1 - betas[0])
    torch._foreach_sign_(directions)
    if weight_decay:
        torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_add_(params, directions, alpha=-lr)
    torch._foreach_lerp_(momenta, grads, 1 - betas[1])
    ### END SOLUTION


# %% grade="foreach" points=15
check("a4_lion", "foreach")

# %% [markdown]
# ### Given: which way where
#
# What wins on a GPU loses on a CPU, and the other way round. So the device decides.


# %%
#| export
def lion_update_all_(
    params: list[Tensor],
    grads: list[Tensor],
    momenta: list[Tensor],
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> None:
    """One step of Lion for many tensors of any dtypes and devices: in pieces on a CPU, in lists elsewhere."""
    elsewhere = {}
    for tensors in zip(params, grads, momenta):
        p = tensors[0]
        if p.device.type == "cpu":
            lion_update_in_pieces_(*tensors, lr, betas, weight_decay)
        else:
            elsewhere.setdefault((p.device, p.dtype), []).append(tensors)
    for alike in elsewhere.values():
        lion_update_foreach_(*(list(column) for column in zip(*alike)), lr, betas, weight_decay)


# %% [markdown]
# ## 4 · The optimizer (`optimizer`)
#
# **Difficulty ●●●○○ · Importance ●●●●● · 45 minutes · 35 points**
#
# A training loop knows an optimizer by its habits, and `torch.optim.Optimizer` brings most of them. Derive from it, and
# use what it keeps:
#
# | | |
# |---|---|
# | `super().__init__(params, defaults)` | accepts parameters or groups, refuses what is no parameter (非叶张量 a non-leaf tensor), fills gaps from `defaults` |
# | `self.param_groups` | a list of dicts: `"params"` and the values of that group (参数组) |
# | `self.state[p]` | a dict for each parameter, empty at first; `state_dict()` saves it, `load_state_dict()` brings it back |
#
# Rules:
# - Every group goes by its **own** `lr`, `betas` and `weight_decay`, as they are at the time of the step: schedulers
#   change them.
# - A parameter whose gradient is `None` is left alone: no decay, no step.
# - Each parameter has its own momentum, of its dtype, starting at 0 and kept in `self.state[p]`, so that a checkpoint holds it.
# - `step(closure)` calls the closure once, first, with gradients **enabled**, and returns its value; `step()` returns
#   `None`. Apart from that, nothing is recorded by autograd: neither parameters nor momenta get a history, which would
#   grow with every step.
# - `ValueError`, when the optimizer is made, for a learning rate or weight decay below 0 and for a β outside $[0, 1)$.
#   0 itself is allowed for each.
# - A sparse gradient raises an error with the word *sparse* in its message. When it does, no parameter has changed yet, in
#   no group: look at all gradients before the first update.


# %% solution="optimizer"
#| export
class Lion(torch.optim.Optimizer):
    """Lion: p <- p (1 - lr wd); p <- p - lr sign(b1 m + (1 - b1) g); m <- b2 m + (1 - b2) g.

    Args:
        params: parameters, or dicts with ``"params"`` and the values of that group.
        lr: how far every parameter moves in a step; typically 3 to 10 times smaller than for AdamW.
        betas: the weight of the momentum in the direction, and in the next momentum.
        weight_decay: parameters shrink by ``lr * weight_decay`` in a step; typically 3 to 10 times larger than for AdamW.

    Raises ValueError for lr < 0, weight_decay < 0 and a beta outside [0, 1).
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: Sequence[float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        ### BEGIN SOLUTION
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take in one more group; what it does not say is as in ``Lion(...)``. Raises ValueError as that does."""
        options = {**self.defaults, **param_group}
        for name in ("lr", "weight_decay"):
            value = options[name]
            if not isinstance(value, Real | Tensor) or (isinstance(value, Tensor) and value.ndim):
                raise TypeError(f"{name} is {value!r}: it must be a number, or a tensor without dimensions")
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value}: it must be 0 or more, and finite")
        if len(options["betas"]) != 2 or not all(0 <= beta < 1 for beta in options["betas"]):
            raise ValueError(f"betas are {options['betas']}: they must be two numbers, 0 <= beta < 1")
        super().add_param_group(param_group)
        ### END SOLUTION

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient. ``closure`` computes the loss anew; its value is returned.

        Raises RuntimeError for a sparse gradient, before anything is changed.
        """
        ### BEGIN SOLUTION
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            due = [[p for p in group["params"] if p.grad is not None] for group in self.param_groups]
            if any(p.grad.layout != torch.strided for params in due for p in params):
                raise RuntimeError("Lion has no sparse gradients: the momentum moves every parameter in every step")
            for group, params in zip(self.param_groups, due):
                momenta = [self._momentum(p) for p in params]
                options = (group[name] for name in ("lr", "betas", "weight_decay"))
                lion_update_all_(params, [p.grad for p in params], momenta, *options)
        return loss

    def _momentum(self, p: Tensor) -> Tensor:
        state = self.state[p]
        if "exp_avg" not in state:  # the name that other Lions use: their checkpoints are ours
            state["exp_avg"] = torch.zeros_like(p)
        return state["exp_avg"]
        ### END SOLUTION


# %% grade="optimizer" points=35
check("a4_lion", "optimizer")

# %% [markdown]
# ### Look: one step size for all
#
# A valley, 100 times as steep across as along it: $\tfrac12 (x^2 + 100\, y^2)$. Plain gradient descent must go slowly or
# jumps from wall to wall. **Predict**: which way does Lion go in its first steps, when both gradients have a sign and
# nothing else: "along" the valley, "across" it, or "diagonally"? Write one of the three in place of `None`.

# %%
from cs336lite.course.plot import COLORS, axes, finish

guess = None


def path(make: Callable, steps: int = 250) -> Tensor:
    """All points, (steps + 1, 2), on the way from (-2, 1.2)."""
    point = torch.tensor([-2.0, 1.2], requires_grad=True)
    optimizer, points = make([point]), [point.detach().clone()]
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * (torch.tensor([1.0, 100.0]) * point.square()).sum()).backward()
        optimizer.step()
        points.append(point.detach().clone())
    return torch.stack(points)


paths = {
    "gradient descent, lr 0.015": (path(lambda p: torch.optim.SGD(p, lr=0.015)), COLORS["black"]),
    "AdamW, lr 0.1": (path(lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.0)), COLORS["vermillion"]),
    "Lion, lr 0.03": (path(lambda p: Lion(p, lr=0.03)), COLORS["blue"]),
}
fig, ax = axes(xlabel="x, along the valley", ylabel="y, across the valley")
for name, (points, color) in paths.items():
    ax.plot(points[:, 0], points[:, 1], color=color, marker="o", markersize=2, linewidth=1, label=name)
finish(fig)
along, across = (paths["Lion, lr 0.03"][0][10] - paths["Lion, lr 0.03"][0][0]).abs().tolist()
way = "diagonally" if abs(along - across) < 1e-5 else "along" if along > across else "across"
why = "a sign is as large for a small gradient as for a large one, so both coordinates move by lr"
reveal("Lion's first ten steps go", way, guess, because={"along": why, "across": why})

# %% [markdown]
# Lion goes diagonally: both coordinates move by lr, whatever the slope. It shoots past the bottom, since its momentum
# remembers many gradients and turns round late. And it does not come to rest there, since a sign does not shrink with the
# gradient: only a learning rate that goes down makes its steps smaller. That is why a schedule matters to Lion.

# %%
steps_of_lion = paths["Lion, lr 0.03"][0].diff(dim=0).abs()
print(f"Lion's steps in x and y are all between {steps_of_lion.min():.4f} and {steps_of_lion.max():.4f}")
torch.testing.assert_close(steps_of_lion, torch.full((250, 2), 0.03), atol=1e-5, rtol=0)

# %% [markdown]
# ## Where you stand
#
# Run `status()`, then save the notebook and run the last cell: your solution becomes `cs336lite.lion`, and lecture 04
# trains with it.

# %%
status()

# %% locked="export"
from cs336lite.course import export_solution

export_solution("a4_lion")
