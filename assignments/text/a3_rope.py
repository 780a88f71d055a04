# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: rope, minutes: 150, prerequisites: [02_tensors], device: CPU}
# ---

# %% [markdown]
# # Assignment 3 · Rotary position embedding (旋转位置编码)
#
# **about 2½ hours of work · prerequisites: PyTorch tensors (lecture 02) · device: CPU · 100 points**
#
# Attention compares a query with every key, and a dot product does not know where its two vectors stand: *dog bites
# man* and *man bites dog* would be the same bag of words. *Rotary position embedding* (RoPE) turns each query and each
# key by an angle that grows with its position. The dot product then feels the difference of the two angles, and so
# the distance between the two tokens, and nothing else about where they stand. Llama, GLM, PaLM, GPT-NeoX and most
# models since use it; the model of lecture 03 will run on your code.
#
# | exercise | what you write | points |
# |---|---|---:|
# | `angles` | how far each pair of dimensions turns at each position | 15 |
# | `rotation` | turn neighbouring dimensions by given angles | 20 |
# | `layouts` | the other order of dimensions, and the way between the two | 15 |
# | `positions` | rows of a table for any positions, in any shape | 20 |
# | `module` | all of it as a module that a model can hold | 15 |
# | `relative` | attention that sees distances only | 8 |
# | `partial` | turn the first part of a head, leave the rest | 7 |
#
# ## What differs from CS336
#
# The class and its arguments are those of Stanford's CS336. What we ask beyond that, each for a few points:
#
# | | CS336 | here |
# |---|---|---|
# | `layout` | pairs of neighbours | also `"half"`, by a keyword |
# | a position below 0, or of `max_seq_len` or more | left open | `ValueError` or `IndexError`, no `assert` |
# | an odd `d_k`, an unknown layout | left open | `ValueError` |
# | `x` in bfloat16, float16, float64 | left open | comes back in its dtype; angles stay float32 or better |
# | buffers | `persistent=False` is a hint | nothing in `state_dict()`, and exact after `.to(torch.bfloat16)` |
# | `token_positions` | `(..., seq)` | whatever broadcasts to `x.shape[:-1]`: one row for all, or one each |
#
# ## How to work
#
# - Replace each `raise NotImplementedError` with your code. Keep names and arguments as they are; add cells and helper
#   functions wherever you like.
# - `check("a3_rope", "angles")` runs the public checks of an exercise, `hint("a3_rope", "angles")` gives one hint more
#   each time you ask, and `status()` shows where you stand. Hidden checks follow when you hand in. They judge the same
#   things on other inputs, alone and together, and only through `RotaryPositionalEmbedding`, `interleaved_to_half`,
#   `half_to_interleaved`, `rotary_attention` and `rotate_part`; how these work inside is up to you: tables, complex numbers, matrices, einops.
# - Use torch, numpy, einops. `torch.onnx.ops.rotary_embedding` would do half of the work; it raises an error where your
#   code is graded.
# - A cell whose first line is `#| export` becomes a part of the module `cs336lite.rope`: keep that line. Functions,
#   classes and imports that such a cell needs go along from whatever cell they stand in.
# - The last cell writes this module into your copy of the package and runs the public checks on it. It reads the file of
#   this notebook, so save first (Ctrl+S, on a Mac Cmd+S).
#
# Above each exercise stand its difficulty, how much the rest depends on it, and the minutes it takes most people.
#
# Sources: Su et al. 2021, [RoFormer: Enhanced Transformer with Rotary Position
# Embedding](https://arxiv.org/abs/2104.09864); for what RoPE does *not* do, Press et al. 2021, [Train Short, Test
# Long](https://arxiv.org/abs/2108.12409), and Chen et al. 2023, [Extending Context Window of Large Language Models via
# Positional Interpolation](https://arxiv.org/abs/2306.15595). The interface is that of Stanford's CS336.

# %% locked="setup"
from cs336lite.course import check, hint, status

# %%
#| export
"""Rotary position embedding (旋转位置编码): queries and keys turn with their position, so that scores see distances.

Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding", https://arxiv.org/abs/2104.09864.

Shapes: x is (..., seq, d_k); a head's d_k dimensions form d_k / 2 pairs. In the layout "interleaved" pair i is the
dimensions (2i, 2i + 1), as in the paper; in "half" it is (i, i + d_k / 2), as in Hugging Face's Llama.

Built in assignments/source/a3_rope/a3_rope.ipynb.
"""

# %% [markdown]
# ## Why a rotation
#
# We look for a way to put a position into a vector, $f(q, m)$ and $f(k, n)$, such that the score depends on the two
# vectors and on $m - n$ alone:
#
# $$\langle f(q, m),\, f(k, n) \rangle = g(q, k, m - n)$$
#
# In two dimensions a turn by an angle does it. Let $R_\alpha$ be the rotation by $\alpha$, counter-clockwise. To turn
# back is to transpose, $R_\alpha^\top = R_{-\alpha}$, and two turns add up, $R_\alpha R_\beta = R_{\alpha + \beta}$. So
#
# $$\langle R_{m\omega}\, q,\; R_{n\omega}\, k \rangle = q^\top R_{m\omega}^\top R_{n\omega}\, k = q^\top R_{(n - m)\omega}\, k,
# \qquad R_\alpha = \begin{pmatrix} \cos\alpha & -\sin\alpha \\ \sin\alpha & \cos\alpha \end{pmatrix}$$
#
# No length changes, position 0 changes nothing, and no parameter has to be learned. But one angle alone is ambiguous:
# a hand that turns fast comes round again, and one that turns slowly hardly tells neighbours apart. So a head's $d_k$
# dimensions become $d_k / 2$ *pairs* (维度对), each with a speed of its own, like the hands of a clock:
#
# $$\omega_i = \theta^{-2i / d_k}, \qquad i = 0, 1, \dots, \tfrac{d_k}{2} - 1, \qquad \theta = 10\,000 \text{ in the paper}$$
#
# The picture shows the first positions for a small head: each hand begins at the right and turns by $\omega_i$ a step.

# %%
import numpy as np

from cs336lite.course.plot import COLORS, axes, finish

circle = np.exp(2j * np.pi * np.linspace(0, 1, 200))
fig, panels = axes(1, 4, xlabel="first of the pair", ylabel="second of the pair", size=(10.4, 3.1), sharey=True)
for i, ax in enumerate(panels):
    omega = 100 ** (-2 * i / 8)  # theta = 100, d_k = 8
    ax.plot(circle.real, circle.imag, color="#BBBBBB", linewidth=1)
    for m in range(6):
        hand = np.exp(1j * m * omega)
        ax.plot([0, hand.real], [0, hand.imag], color=COLORS["blue"], linewidth=2, alpha=0.25 + 0.15 * m)
        if omega > 0.2 or m in (0, 5):  # the slow hands leave no room for more
            ax.annotate(str(m), (1.16 * hand.real, 1.16 * hand.imag), ha="center", va="center", fontsize=8)
    ax.set_title(f"pair {i}: {omega:.2f} rad a step", fontsize=10)
    ax.set(aspect="equal", xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), xticks=[-1, 0, 1], yticks=[-1, 0, 1])
finish(fig)

# %%
#| export
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

# %% [markdown]
# ## 1 · Angles (`angles`)
#
# **Difficulty ●○○○○ · Importance ●●●●○ · 15 minutes · 15 points**
#
# $$\text{angle}_{m, i} = m \cdot \theta^{-2i / d_k}, \qquad m = 0, 1, 2, \dots \qquad i = 0, \dots, \tfrac{d_k}{2} - 1$$
#
# With $\theta = 100$ and $d_k = 4$, position 3 has the angles $3 \cdot 100^{0} = 3$ and $3 \cdot 100^{-1/2} = 0.3$.
#
# Rules:
# - Positions have any shape, and each gets its $d_k / 2$ angles: `(...)` becomes `(..., d_k / 2)`.
# - **float32 or better**, whatever the model computes in. Near 100,000 the numbers of bfloat16 lie 512 apart and those of
#   float16 end at 65,504: an angle rounded like that says nothing about where a token stands.


# %% solution="angles"
#| export
def rotation_angles(positions: Int[Tensor, "..."], d_k: int, theta: float) -> Float[Tensor, "... pairs"]:
    """The angle in radians of each of the d_k / 2 pairs at each position: m * theta ** (-2i / d_k).

    >>> rotation_angles(torch.tensor([0, 4]), d_k=4, theta=100.0).tolist()
    [[0.0, 0.0], [4.0, 0.4]]
    """
    ### BEGIN SOLUTION
    if not 0 < theta < float("inf"):
        raise ValueError(f"theta is {theta}: it must be above 0 and finite")
    exponents = torch.arange(0, d_k, 2, dtype=torch.float64, device=positions.device) / d_k
    return positions[..., None] * theta**-exponents
    ### END SOLUTION


# %% grade="angles" points=15
check("a3_rope", "angles")

# %% [markdown]
# ### Look: hands that have never been all the way round
#
# How many positions does each pair need for one full turn? **Predict**: in a model trained on 4,096 positions with
# $d_k = 128$ and $\theta = 10\,000$, how many of the 64 pairs have not completed one turn by the end of the longest text?
# Write your guess in place of `None`.
#
# RoPE does **not** handle any length (外推), and these pairs are one reason. Past the training length they show the model
# angles that it has never seen, and it degrades: with rotary embeddings perplexity rises again within some hundreds of
# positions (2108.12409), and scores can become catastrophically high (2306.15595). So models are adapted to longer texts
# and trained a little further, for example with a larger $\theta$, or with positions shrunk until they fit into the old
# range (position interpolation, 位置插值).

# %%
from cs336lite.course.measure import reveal

guess = None
trained_on, pairs = 4_096, torch.arange(64)
fig, ax = axes(xlabel="pair i of a head with d_k = 128", ylabel="positions for one full turn")
for theta, color in [(10_000.0, COLORS["blue"]), (500_000.0, COLORS["vermillion"])]:
    turn = 2 * torch.pi / rotation_angles(torch.tensor(1), 128, theta)
    ax.plot(pairs, turn, color=color, linewidth=2, label=f"theta = {theta:,.0f}")
    never = int((turn > trained_on).sum())
    if theta == 10_000:
        why = "a turn takes 6 positions for the first pair and some 54,000 for the last, longer by one factor from pair to pair"
        reveal("pairs of 64 that never complete a turn", never, guess, because={"too small": why, "too large": why})
    else:
        print(f"with theta = {theta:,.0f}: {never}")
ax.axhline(trained_on, color="#444444", linestyle="--", linewidth=1, label="training length 4,096")
ax.set_yscale("log")
finish(fig)

# %% [markdown]
# ## 2 · Turning pairs (`rotation`)
#
# **Difficulty ●●○○○ · Importance ●●●●● · 20 minutes · 20 points**
#
# Pair $i$ is the dimensions $2i$ and $2i + 1$ (layout *interleaved*, 交错). With $c_i, s_i$ the cosine and sine of its angle:
#
# $$\begin{pmatrix} y_{2i} \\ y_{2i+1} \end{pmatrix} =
# \begin{pmatrix} c_i & -s_i \\ s_i & c_i \end{pmatrix} \begin{pmatrix} x_{2i} \\ x_{2i+1} \end{pmatrix}$$
#
# At an angle of 90° (1, 0) becomes (0, 1), and (0, 1) becomes (−1, 0). A matrix of $d_k \times d_k$ would be almost all
# zeros: two products and a sum for each dimension are enough.
#
# | | shape |
# |---|---|
# | `x` | `(..., d_k)` |
# | `cos`, `sin` | `(..., d_k / 2)`, broadcast against the pairs of `x` |
# | result | `(..., d_k)`, the dtype of `x` |
#
# Rules:
# - `x` stays as it is: a model needs it again, and autograd too.
# - Gradients flow back to `x`: a model learns through this.
# - Compute in the better of the two dtypes (float64 stays float64), then return the dtype of `x`.
# - All of this holds for the second layout, in exercise 3, too.


# %% solution="rotation"
#| export
def rotate_pairs(
    x: Float[Tensor, "... d_k"], cos: Float[Tensor, "... pairs"], sin: Float[Tensor, "... pairs"]
) -> Float[Tensor, "... d_k"]:
    """``x`` with its pairs (2i, 2i + 1) turned counter-clockwise by the angle of which ``cos`` and ``sin`` are given.

    >>> rotate_pairs(torch.tensor([1.0, 0.0, 0.0, 5.0]), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])).tolist()
    [0.0, 1.0, 0.0, 5.0]
    """
    ### BEGIN SOLUTION
    if not x.is_floating_point():
        raise TypeError(f"x is {x.dtype}: what turns must be floating-point numbers")
    # A pair is a complex number, and to turn it is one product: on a CPU several times as fast as with slices and stack.
    wide = x.to(torch.promote_types(x.dtype, cos.dtype))
    pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2).to(x.dtype)
    ### END SOLUTION


# %% grade="rotation" points=20
check("a3_rope", "rotation")

# %% [markdown]
# ## 3 · Two layouts (`layouts`)
#
# **Difficulty ●●●○○ · Importance ●●●○○ · 25 minutes · 15 points**
#
# Which two dimensions form a pair is a matter of taste, as long as a model is trained and used with the same choice. Two
# are in use:
#
# | layout | pair $i$ | eight dimensions | in |
# |---|---|---|---|
# | `"interleaved"` (交错) | $(2i,\ 2i + 1)$ | `a₀ b₀ a₁ b₁ a₂ b₂ a₃ b₃` | the paper, Meta's Llama, GPT-J, ChatGLM2 |
# | `"half"` (前后两半) | $(i,\ i + d_k / 2)$ | `a₀ a₁ a₂ a₃ b₀ b₁ b₂ b₃` | Hugging Face's Llama, GPT-NeoX |
#
# The angles are the same, and so is the direction; only the places differ. Let $P$ be the permutation (置换) that sorts the
# first kind into the second. Then
#
# $$\text{rotate\_halves}(P x) = P\, \text{rotate\_pairs}(x)$$
#
# and since $\langle Pq, Pk \rangle = \langle q, k \rangle$ the scores of attention are the same too, if queries *and* keys
# are permuted. So weights move from one layout to the other by permuting, within each head, the **rows** of the query
# and key projections. Weights taken over without that give a model that runs and talks nonsense.
#
# Write the rotation of the second layout, and the permutation both ways, along any dimension of a tensor.


# %% solution="layouts"
#| export
def rotate_halves(
    x: Float[Tensor, "... d_k"], cos: Float[Tensor, "... pairs"], sin: Float[Tensor, "... pairs"]
) -> Float[Tensor, "... d_k"]:
    """As `rotate_pairs`, with the pairs (i, i + d_k / 2).

    >>> rotate_halves(torch.tensor([1.0, 0.0, 0.0, 5.0]), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])).tolist()
    [0.0, 0.0, 1.0, 5.0]
    """
    ### BEGIN SOLUTION
    if not x.is_floating_point():
        raise TypeError(f"x is {x.dtype}: what turns must be floating-point numbers")
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)
    return turned.to(x.dtype)  # bfloat16 times float32 is float32
    ### END SOLUTION


def interleaved_to_half(x: Tensor, dim: int = -1) -> Tensor:
    """``x`` with dimension ``dim`` in the order of the layout "half", taken from "interleaved".

    >>> interleaved_to_half(torch.tensor([0, 1, 2, 3, 4, 5])).tolist()
    [0, 2, 4, 1, 3, 5]
    """
    ### BEGIN SOLUTION
    order = torch.arange(x.shape[dim], device=x.device).view(-1, 2).T.flatten()
    return x.index_select(dim, order)
    ### END SOLUTION


def half_to_interleaved(x: Tensor, dim: int = -1) -> Tensor:
    """``x`` with dimension ``dim`` in the order of the layout "interleaved", taken from "half".

    >>> half_to_interleaved(torch.tensor([0, 2, 4, 1, 3, 5])).tolist()
    [0, 1, 2, 3, 4, 5]
    """
    ### BEGIN SOLUTION
    order = torch.arange(x.shape[dim], device=x.device).view(2, -1).T.flatten()
    return x.index_select(dim, order)
    ### END SOLUTION


# %% grade="layouts" points=15
check("a3_rope", "layouts")

# %% [markdown]
# ### Look: weights that move
#
# A query projection with 2 heads of 8 dimensions. The same weights give the same scores in both layouts if their rows
# are permuted head by head, and other scores if they are not.

# %%
random = torch.Generator().manual_seed(0)
weight_q, weight_k = (torch.randn(2 * 8, 16, generator=random) for _ in "qk")
x = torch.randn(5, 16, generator=random)
angles = rotation_angles(torch.arange(5), 8, 10_000.0)


def scores(weight_q: Tensor, weight_k: Tensor, rotate: Callable) -> Tensor:
    q, k = ((x @ w.T).unflatten(-1, (2, 8)).transpose(0, 1) for w in (weight_q, weight_k))  # (heads, seq, d_k)
    return rotate(q, angles.cos(), angles.sin()) @ rotate(k, angles.cos(), angles.sin()).transpose(-2, -1)


def moved(weight: Tensor) -> Tensor:
    return interleaved_to_half(weight.unflatten(0, (2, 8)), dim=1).flatten(0, 1)


original = scores(weight_q, weight_k, rotate_pairs)
as_they_are, permuted = (
    float((scores(*weights, rotate_halves) - original).abs().max())
    for weights in [(weight_q, weight_k), (moved(weight_q), moved(weight_k))]
)
print(f"in the other layout scores differ by up to {as_they_are:.0f} with weights as they are, {permuted:.0e} permuted")
assert permuted < 1e-4 < 1 < as_they_are

# %% [markdown]
# ## 4 · Any positions (`positions`)
#
# **Difficulty ●●●○○ · Importance ●●●●○ · 20 minutes · 20 points**
#
# The positions of a batch are not always 0, 1, 2, …. When a model generates, the next token stands at position 731 all
# alone; in a batch padded on the left each row begins elsewhere; several documents packed into one row each begin at 0.
# So the cosines and sines are kept in a table with one row a position, and looked up:
#
# $$\text{rows}_{\dots, j} = \text{table}_{\,\text{positions}_{\dots},\ j}$$
#
# | `token_positions` | queries | what it means |
# |---|---|---|
# | `(seq,)` | `(..., seq, d_k)` | the same positions for all |
# | `(batch, seq)` | `(batch, seq, d_k)` | each row of the batch has its own |
# | `(batch, 1, seq)` | `(batch, heads, seq, d_k)` | the same for all heads of a row |
#
# In all of them the shape of `token_positions` broadcasts to the shape of `x` without `d_k`. Nothing is guessed:
# `(batch, seq)` does not go with `(batch, heads, seq, d_k)` unless broadcasting says so.
#
# Rules:
# - The shape of the result is that of the positions, with a row in place of each number.
# - $0 \le \text{position} < \text{max\_seq\_len}$. Anything else is a `ValueError` (or an `IndexError`) that says so. Beware of
#   −1, which Python takes for the last row.


# %% solution="positions"
#| export
def look_up(table: Float[Tensor, "max_seq_len n"], token_positions: Int[Tensor, "..."]) -> Float[Tensor, "... n"]:
    """The row of ``table`` for each position.

    Raises ValueError (or IndexError) for a position outside 0 <= position < max_seq_len.

    >>> look_up(torch.tensor([[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]]), torch.tensor([2, 0])).tolist()
    [[2.0, 2.5], [0.0, 0.5]]
    """
    ### BEGIN SOLUTION
    if token_positions.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"token_positions are {token_positions.dtype}, and must be torch.int64 or torch.int32")
    # To look at positions that lie on a GPU would stop the program until the GPU has got there.
    if token_positions.device.type == "cpu" and token_positions.numel() and not torch.compiler.is_compiling():
        low, high = (int(bound) for bound in token_positions.aminmax())
        if low < 0 or high >= len(table):
            raise ValueError(
                f"token_positions run from {low} to {high}, and those known here from 0 to {len(table) - 1}"
            )
    return nn.functional.embedding(token_positions, table)  # on a GPU it asserts the bounds, -1 included
    ### END SOLUTION


# %% grade="positions" points=20
check("a3_rope", "positions")

# %% [markdown]
# ## 5 · The module (`module`)
#
# **Difficulty ●●●○○ · Importance ●●●●● · 35 minutes · 15 points**
#
# Put the pieces together: tables for all positions when the module is made, looked up and used in `forward`.
#
# | | shape | |
# |---|---|---|
# | `x` | `(..., seq, d_k)` | queries or keys; never values |
# | `token_positions` | broadcasts to `x.shape[:-1]` | integers |
# | result | `(..., seq, d_k)` | the dtype and device of `x` |
#
# Rules:
# - `layout` is `"interleaved"` or `"half"`; another one, or an odd `d_k`, is a `ValueError` when the module is made.
# - Nothing here is learned: no parameters. And all of it follows from the arguments, so it is not worth saving: nothing
#   in `state_dict()`. (`register_buffer` has an option for that; a buffer follows the model to a GPU.)
# - `x` and `token_positions` stay as they are.
# - **Still float32 or better after `model.to(torch.bfloat16)`.** That call converts every buffer that holds floating-point
#   numbers. Cosines and sines lose a little; angles or frequencies lose everything, as exercise 1 says. What do you
#   keep, and where?


# %% solution="module"
#| export
class RotaryPositionalEmbedding(nn.Module):
    """Turns queries and keys by their positions: pair i at position m by the angle m * theta ** (-2i / d_k).

    Args:
        theta: the base of the speeds, 10,000 in the paper.
        d_k: the size of what is turned, even: a head, or the part of a head that takes part.
        max_seq_len: positions are 0 to ``max_seq_len - 1``.
        device: where the tables lie; they move with the module, and stay float32 when it is converted.
        layout: which dimensions form pair i, (2i, 2i + 1) for "interleaved" and (i, i + d_k / 2) for "half".

    Raises ValueError for an odd ``d_k`` and for another layout.
    """

    def __init__(
        self,
        theta: float,
        d_k: int,
        max_seq_len: int,
        device: torch.device | str | None = None,
        *,
        layout: str = "interleaved",
    ) -> None:
        ### BEGIN SOLUTION
        super().__init__()
        if d_k < 2 or d_k % 2:
            raise ValueError(f"d_k is {d_k}: dimensions turn in pairs, so it must be even and at least 2")
        if max_seq_len < 1:
            raise ValueError(f"max_seq_len is {max_seq_len}: it must be at least 1")
        if layout not in ("interleaved", "half"):
            raise ValueError(f"layout is {layout!r}: give 'interleaved' or 'half'")
        self.theta, self.d_k, self.max_seq_len, self.layout = theta, d_k, max_seq_len, layout
        self._rotate = rotate_pairs if layout == "interleaved" else rotate_halves
        self.register_buffer("table", self._make_table(device), persistent=False)
        ### END SOLUTION

    def forward(
        self, x: Float[Tensor, "*batch seq d_k"], token_positions: Int[Tensor, "..."]
    ) -> Float[Tensor, "*batch seq d_k"]:
        """``x`` turned by its positions, in the dtype of ``x``; ``token_positions`` broadcasts to ``x.shape[:-1]``.

        Raises ValueError (or IndexError) for a position outside 0 <= position < max_seq_len.
        """
        ### BEGIN SOLUTION
        if x.shape[-1] != self.d_k:
            raise ValueError(f"x has {x.shape[-1]} dimensions in its last place, and d_k is {self.d_k}")
        sizes = zip(reversed(token_positions.shape), reversed(x.shape[:-1]))
        if token_positions.dim() >= x.dim() or any(given not in (1, size) for given, size in sizes):
            shapes = f"{tuple(token_positions.shape)} do not broadcast to {tuple(x.shape[:-1])}"
            raise ValueError(f"token_positions of shape {shapes}, the shape of x without d_k")
        cos, sin = look_up(self.table, token_positions).chunk(2, dim=-1)
        return self._rotate(x, cos, sin)

    def _make_table(self, device: torch.device | str | None) -> Float[Tensor, "max_seq_len d_k"]:
        """One row a position: the cosines of all pairs, then their sines."""
        angles = rotation_angles(torch.arange(self.max_seq_len, device="cpu"), self.d_k, self.theta)
        return torch.cat((angles.cos(), angles.sin()), dim=-1).to(torch.float32).to(device)

    def _apply(self, fn: Callable, recurse: bool = True) -> "RotaryPositionalEmbedding":
        """What ``.to`` and its like do to every buffer; a table that this rounds or leaves empty is made anew."""
        was_empty = self.table.is_meta
        super()._apply(fn, recurse)
        if self.table.dtype != torch.float32 or was_empty:
            self.table = self._make_table(self.table.device)
        return self
        ### END SOLUTION


# %% grade="module" points=15
check("a3_rope", "module")

# %% [markdown]
# ## 6 · Distances only (`relative`)
#
# **Difficulty ●●○○○ · Importance ●●●●○ · 15 minutes · 8 points**
#
# What the rotation is for. Turn the queries by their positions and the keys by theirs, and take no mask:
#
# $$\text{attention} = \text{softmax}\left(\frac{Q' K'^{\top}}{\sqrt{d_k}}\right) V, \qquad
# Q'_m = R_m Q_m, \quad K'_n = R_n K_n, \qquad Q'_m \cdot K'_n = Q_m^\top R_{n - m}\, K_n$$
#
# The values $V$ are **not** turned: they are what a token says, and the weights have already decided how much it is heard.
# With turned values the sum would depend on absolute positions again.
#
# Queries and keys have positions of their own, since there need not be equally many: a model that generates has one new
# query and the keys of all tokens so far, which it keeps turned in its cache. It may, because no key ever has to be
# turned again when later tokens come.
#
# | | shape |
# |---|---|
# | `q`, `q_positions` | `(..., queries, d_k)`, broadcasts to `(..., queries)` |
# | `k`, `v`, `k_positions` | `(..., keys, d_k)`, `(..., keys, d_v)`, broadcasts to `(..., keys)` |
# | result | `(..., queries, d_v)` |
#
# `rope` is any module like yours: call it, and ask it for nothing else.


# %% solution="relative"
#| export
def rotary_attention(
    rope: Callable[[Tensor, Tensor], Tensor],
    q: Float[Tensor, "... queries d_k"],
    k: Float[Tensor, "... keys d_k"],
    v: Float[Tensor, "... keys d_v"],
    q_positions: Int[Tensor, "..."],
    k_positions: Int[Tensor, "..."],
) -> Float[Tensor, "... queries d_v"]:
    """Attention without a mask, with queries and keys turned by ``rope(x, token_positions)``.

    If all positions grow by the same number, the result stays the same.
    """
    ### BEGIN SOLUTION
    scores = rope(q, q_positions) @ rope(k, k_positions).transpose(-2, -1) / q.shape[-1] ** 0.5
    return scores.softmax(dim=-1) @ v
    ### END SOLUTION


# %% grade="relative" points=8
check("a3_rope", "relative")

# %% [markdown]
# ### Look: near is louder
#
# A vector and itself, some positions apart: all hands agree at distance 0, and the further apart, the more they point in
# all directions (section 3.4.3 of the paper, long-term decay). A larger $\theta$,
# as in models for long texts, keeps more of the score at a distance. It is a tendency of the average; a trained model can
# also look far back, with the pairs that turn slowly.

# %%
distances = torch.arange(0, 4_001, 10)
x = torch.ones(len(distances), 128)  # for random vectors the mean is the same: what mixes two dimensions cancels out
fig, ax = axes(xlabel="distance between query and key (positions)", ylabel="score ÷ score at distance 0")
for theta, color in [(10_000.0, COLORS["blue"]), (500_000.0, COLORS["vermillion"])]:
    rope = RotaryPositionalEmbedding(theta, 128, 8_192)
    score, later = (
        (rope(x, distances + start) * rope(x, torch.full_like(distances, start))).sum(dim=-1) for start in (0, 4_000)
    )
    torch.testing.assert_close(later, score, atol=0.1, rtol=0)  # 4,000 positions later everything is the same
    ax.plot(distances, score / score[0], color=color, linewidth=1.5, label=f"theta = {theta:,.0f}")
finish(fig)

# %% [markdown]
# ## 7 · A part of the head (`partial`)
#
# **Difficulty ●●○○○ · Importance ●●○○○ · 10 minutes · 7 points**
#
# Some models turn only the first dimensions of each head and leave the others without any position: ChatGLM2 the first
# 64 of 128, GPT-NeoX the first quarter, GPT-J 64 of 256. What is left can compare tokens wherever they stand.
#
# $$y = \big[\, \text{rope}(x_{0 \dots r - 1}, m)\ ;\ x_{r \dots d_k - 1} \,\big], \qquad r = \text{rotary\_dim}$$
#
# The speeds are those of a smaller head: $\omega_i = \theta^{-2i / r}$. So `rope` is made with `d_k = rotary_dim`, and keeps
# its interface. `rotary_dim` may be all of the head.


# %% solution="partial"
#| export
def rotate_part(
    rope: Callable[[Tensor, Tensor], Tensor],
    x: Float[Tensor, "*batch seq d_head"],
    token_positions: Int[Tensor, "..."],
    rotary_dim: int,
) -> Float[Tensor, "*batch seq d_head"]:
    """``x`` with its first ``rotary_dim`` dimensions turned by ``rope``, made for that many; the rest is as it was."""
    ### BEGIN SOLUTION
    turned = rope(x[..., :rotary_dim], token_positions)
    return torch.cat((turned, x[..., rotary_dim:]), dim=-1)
    ### END SOLUTION


# %% grade="partial" points=7
check("a3_rope", "partial")

# %% [markdown]
# ### Given: a part of the head, where a model expects a whole one
#
# A model calls `rope(x, token_positions)` and knows nothing about parts. This wrapper fits there, with your function
# inside.


# %%
#| export
class PartialRotaryPositionalEmbedding(nn.Module):
    """In place of a `RotaryPositionalEmbedding`: ``rope``, made for ``rotary_dim``, turns that much of a larger head.

    ChatGLM2, heads of 128: ``PartialRotaryPositionalEmbedding(RotaryPositionalEmbedding(10_000.0, 64, 32_768), 64)``.
    """

    def __init__(self, rope: RotaryPositionalEmbedding, rotary_dim: int) -> None:
        super().__init__()
        self.rope, self.rotary_dim = rope, rotary_dim

    def forward(
        self, x: Float[Tensor, "*batch seq d_head"], token_positions: Int[Tensor, "..."]
    ) -> Float[Tensor, "*batch seq d_head"]:
        """``x`` with its first dimensions turned by their positions; see `rotate_part`."""
        return rotate_part(self.rope, x, token_positions, self.rotary_dim)


# %% [markdown]
# ## Where you stand
#
# Run `status()`, then save the notebook and run the last cell: your solution becomes `cs336lite.rope`, and the model of
# lecture 03 uses it.

# %%
status()

# %% locked="export"
from cs336lite.course import export_solution

export_solution("a3_rope")
