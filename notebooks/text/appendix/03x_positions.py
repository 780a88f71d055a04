# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: positions, minutes: 1, prerequisites: [03_architecture, a2_attention, a3_rope], device: CPU}
# ---

# %% [markdown]
# # 03x · Positions and masks, all of them (appendix of lecture 03)
#
# {badge} · prerequisites: [03 · the Transformer](../03_architecture.ipynb), a2, a3 · device: CPU
#
# Lecture 03 worked RoPE by hand and drew four masks. Models since 2017 have told attention in other ways where a token
# stands. This appendix builds `cs336lite.positions`, with all of them that the model of lecture 03b can be told to use.
# Read a section when you meet its scheme in a paper.
#
# | scheme | where it acts | seen in | section |
# |---|---|---|---|
# | sinusoids (正弦), fixed | added to the embedding | the Transformer of 2017 (arXiv 1706.03762) | 1 |
# | learned rows | added to the embedding | GPT-2, StarCoder | 1 |
# | ALiBi: a fixed slope for each head, times the distance | added to the scores | BLOOM (2108.12409) | 2 |
# | T5: a number for each head and range of distances | added to the scores | T5 (1910.10683) | 2 |
# | Shaw: a vector for each distance | added to keys and values | the first relative scheme (1803.02155) | 3 |
# | Transformer-XL: sinusoids of the distance, and two biases | in the scores | Transformer-XL (1901.02860) | 3 |
# | RoPE (旋转位置编码): queries and keys turn with their position | on queries and keys | PaLM, Llama (2104.09864) | lecture 03 |
# | GLM: two positions for each token | added to the embedding | GLM (2103.10360) | 5 |

# %%
import numpy as np
from IPython.display import display

from cs336lite.course import whose
from cs336lite.course.diagram import Diagram
from cs336lite.course.measure import reveal
from cs336lite.course.plot import COLORS, axes, finish

READY = whose("attention", "rope", lecture="03x_positions")
YOURS = "this runs on your attention and your RoPE: do check('a2_attention') and check('a3_rope') pass?"

# %%
#| export positions
"""Where tokens stand, and who may see whom: position schemes (位置编码) and attention masks (注意力掩码).

Sinusoids: Vaswani et al. 2017, arXiv 1706.03762. Relative positions: Shaw et al. 2018, arXiv 1803.02155; Dai et al.
2019 (Transformer-XL), arXiv 1901.02860; Raffel et al. 2019 (T5), arXiv 1910.10683. ALiBi: Press et al. 2021, arXiv
2108.12409. Blank filling: Du et al. 2021 (GLM), arXiv 2103.10360. RoPE is `cs336lite.rope`.

A relative scheme is an ``attend(Q, K, V, mask)`` for `cs336lite.attention.MultiHeadAttention`: Q is (batch, num_heads,
q, d_head), K and V are (batch, num_heads, k, d_head), and the queries are the last q of the k tokens. Masks are
boolean, True = may attend, and broadcast to (batch, num_heads, q, k).

Built in notebooks/appendix/03x_positions.ipynb.
"""

import math
from itertools import chain, pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cs336lite.attention import softmax
from cs336lite.rope import RotaryPositionalEmbedding

# %%
#| export positions
BOUNDED = ("learned", "glm", "rope", "rope_half")
"""Position schemes of `cs336lite.model` that know no position beyond ``context_length``: rows and tables of angles end."""


# %% [markdown]
# ## 1 · Added to the embedding: sinusoids and learned rows
#
# **How can a sum say where a token stands?** The embedding of a token and a vector for its position are added, and the
# model learns to read both. Position $p$ gets sines and cosines of $p$ at falling speeds, like the digits of a clock:
#
# $$P_{p,\,2i} = \sin\frac{p}{10000^{2i/d}} \qquad P_{p,\,2i+1} = \cos\frac{p}{10000^{2i/d}}$$
#
# By hand, with $d = 4$: the first pair turns by 1 radian a position, the second by $1/100$. Position 0 is (0, 1, 0,
# 1), position 1 is (0.84, 0.54, 0.01, 1.00), position 2 is (0.91, −0.42, 0.02, 1.00).
#
# GPT-2 *learns* a row for each position instead. The paper of 2017 found both about equal, and hoped that sinusoids
# would go on beyond the length of training; rows end where the table ends.


# %%
#| export positions
def sinusoids(positions: Int[Tensor, "..."], d_model: int) -> Float[Tensor, "... d_model"]:
    """sin(p / 10000 ** (2i / d_model)) at dimension 2i, the cosine at 2i + 1 (arXiv 1706.03762, section 3.5).

    >>> sinusoids(torch.tensor([0, 1]), 4)[:, :2].round(decimals=2).tolist()
    [[0.0, 1.0], [0.8399999737739563, 0.5400000214576721]]
    """
    pairs = torch.arange(0, d_model, 2, device=positions.device)
    angles = positions[..., None] * 10_000.0 ** -(pairs / d_model)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)[..., :d_model]


class LearnedPositions(nn.Embedding):
    """A row of parameters for each of ``context_length`` positions, as in GPT-2. ValueError below 0 and beyond the last."""

    def forward(self, positions: Int[Tensor, "*batch seq"]) -> Float[Tensor, "*batch seq d_model"]:
        if not positions.is_meta and positions.numel():
            low, high = (int(bound) for bound in positions.aminmax())
            if low < 0 or high >= self.num_embeddings:
                known = f"this model has learned those from 0 to {self.num_embeddings - 1}"
                raise ValueError(f"positions run from {low} to {high}, and {known}")
        return super().forward(positions)


# %% [markdown]
# Why sines? Because $\cos a \cos b + \sin a \sin b = \cos(a - b)$: the product of two positions' vectors depends on
# their distance alone. **Predict.** Is that still so for queries and keys, which are the vectors times matrices $W_Q$
# and $W_K$?

# %%
guess = None  # yes or no

rows, draw = sinusoids(torch.arange(64), 32), torch.Generator().manual_seed(0)
W_Q, W_K = (torch.randn(32, 32, generator=draw) / 32**0.5 for _ in range(2))
plain, mixed = rows @ rows.T / 32, rows @ W_Q @ (rows @ W_K).T / 32**0.5


def spread(scores: Tensor) -> float:
    """How much scores of the same distance differ: the largest difference along a diagonal."""
    return (scores[1:, 1:] - scores[:-1, :-1]).abs().max().item()


# %% folded=true
# run this cell to compare your guess
because = {"yes": "the matrices mix pairs of different speeds, and the sum of cosines falls apart"}
reveal("by the distance alone", "yes" if spread(mixed) < 1e-4 else "no", guess, because=because)
assert spread(plain) < 1e-5 < 0.1 < spread(mixed)
fig, (left, right) = axes(1, 2, xlabel="distance from the query (positions)", ylabel="score", size=(9.4, 3.2))
for ax, scores, title in ((left, plain, "sinusoids as they are"), (right, mixed, "after W_Q and W_K, random")):
    for query, line, color in ((20, "-", "blue"), (35, "--", "vermillion"), (50, ":", "black")):
        values = scores[query, query - 20 : query + 14]
        label = f"query at {query}" if ax is left else None  # the same lines on the right
        ax.plot(range(-20, 14), values, line, color=COLORS[color], label=label)
    ax.set(title=title)
left.legend(fontsize=9)
finish(fig)

# %% [markdown]
# On the left the three queries draw one line. On the right each draws its own: where a text begins changes what a head
# looks at. The schemes below act *after* these matrices, so that only distances count. They are called relative
# (相对位置).
#
# ## 2 · A number for each distance: ALiBi and T5
#
# **What is the least that a head must be told?** Perhaps one number for each distance, added to the score. Both
# schemes do that.
#
# **ALiBi** subtracts a fixed slope times the distance. Four heads have the slopes ¼, 1/16, 1/64, 1/256. By hand, in
# the first head: three keys at the distances 0, 1 and 2 with equal scores get weights proportional to $e^0, e^{-1/4},
# e^{-1/2}$, which are 0.42, 0.33 and 0.25. Nothing is learned.
#
# **T5** learns the number, for each head and each of 32 *buckets* (桶) of distances. In a decoder the distances 0 to 15
# have a bucket each; from 16 on they share buckets that widen like a logarithm, and all beyond 128 are in the last:
#
# $$\text{bucket}(n) = 16 + \left\lfloor 16 \cdot \frac{\ln(n / 16)}{\ln(128 / 16)} \right\rfloor \quad\text{for } n \ge 16$$
#
# By hand for 20: $\ln(20/16) / \ln 8 = 0.223 / 2.079 = 0.107$, times 16 is 1.7, so bucket 17.


# %%
#| export positions
def distances(q: int, k: int, device: torch.device | None = None) -> Int[Tensor, "{q} {k}"]:
    """Key minus query position, for queries that are the last ``q`` of ``k`` tokens: negative in the past.

    >>> distances(2, 3).tolist()
    [[-1, 0, 1], [-2, -1, 0]]
    """
    return torch.arange(k, device=device) - torch.arange(k - q, k, device=device)[:, None]


def attend_with_scores(
    scores: Float[Tensor, "batch heads q k"], V: Float[Tensor, "batch heads k d"], mask: Bool[Tensor, "..."] | None
) -> Float[Tensor, "batch heads q d"]:
    """The mean of the values by the softmax of these scores, where the mask allows."""
    return softmax(scores if mask is None else scores.masked_fill(~mask, -torch.inf), dim=-1) @ V


# %%
#| export positions
def alibi_slopes(num_heads: int) -> Float[Tensor, " {num_heads}"]:
    """2 ** (-8 i / n) for heads i = 1 to n; where n is no power of two, every other of those for 2n fill up.

    >>> alibi_slopes(4).tolist(), alibi_slopes(3).tolist()
    ([0.25, 0.0625, 0.015625, 0.00390625], [0.0625, 0.00390625, 0.25])
    """
    power = 2 ** int(math.log2(num_heads))
    slopes = [2 ** (-8 * i / power) for i in range(1, power + 1)]
    return torch.tensor(slopes + [2 ** (-4 * i / power) for i in range(1, 2 * power, 2)][: num_heads - power])


class AlibiAttention(nn.Module):
    """softmax(Q K^T / sqrt(d) - slope * distance) V: no parameters, nothing at the input (arXiv 2108.12409)."""

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.register_buffer("slopes", alibi_slopes(num_heads), persistent=False)

    def forward(self, Q: Tensor, K: Tensor, V: Tensor, mask: Bool[Tensor, "..."] | None = None) -> Tensor:
        far = -distances(Q.shape[-2], K.shape[-2], Q.device).abs() * self.slopes[:, None, None].to(Q.dtype)
        return attend_with_scores(Q @ K.mT * Q.shape[-1] ** -0.5 + far, V, mask)


# %%
#| export positions
def t5_buckets(
    far: Int[Tensor, "..."], bidirectional: bool, num_buckets: int = 32, max_distance: int = 128
) -> Int[Tensor, "..."]:
    """A number below ``num_buckets`` for each distance: exact when near, logarithmic up to ``max_distance``.

    Half of them are for keys after the query when ``bidirectional`` (arXiv 1910.10683, section 2.1).

    >>> t5_buckets(torch.tensor([-200, -20, -2, 0, 3]), bidirectional=False).tolist()
    [31, 17, 2, 0, 0]
    """
    after = 0
    if bidirectional:
        num_buckets //= 2
        after = (far > 0) * num_buckets
    back = far.abs() if bidirectional else (-far).clamp(min=0)
    exact = num_buckets // 2
    ratio = torch.log(back.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    coarse = (exact + (ratio * (num_buckets - exact)).long()).clamp(max=num_buckets - 1)
    return after + torch.where(back < exact, back, coarse)


# %%
#| export positions
class T5Attention(nn.Module):
    """Q K^T plus a learned number for each head and bucket of distances, not divided by sqrt(d) (arXiv 1910.10683).

    All layers of a stack share one. For cross-attention ``num_buckets`` is 0: no numbers, and no division either.
    ValueError when ``max_distance`` is not beyond the distances that have a bucket each.
    """

    def __init__(self, num_heads: int, bidirectional: bool, num_buckets: int = 32, max_distance: int = 128) -> None:
        super().__init__()
        exact = num_buckets // (4 if bidirectional else 2)
        if num_buckets and max_distance <= exact:
            raise ValueError(
                f"max_distance is {max_distance}, and must be above {exact}, the distances with a bucket each"
            )
        self.bidirectional, self.num_buckets, self.max_distance = bidirectional, num_buckets, max_distance
        self.bias = nn.Embedding(num_buckets, num_heads) if num_buckets else None

    def forward(self, Q: Tensor, K: Tensor, V: Tensor, mask: Bool[Tensor, "..."] | None = None) -> Tensor:
        scores = Q @ K.mT
        if self.bias is not None:
            far = distances(Q.shape[-2], K.shape[-2], Q.device)
            scores = scores + self.bias(
                t5_buckets(far, self.bidirectional, self.num_buckets, self.max_distance)
            ).permute(2, 0, 1)
        return attend_with_scores(scores, V, mask)


# %% [markdown]
# **Predict.** Which bucket has the distance 64? And which distances share it?

# %%
guess = None  # (bucket, first distance, last distance)

buckets = t5_buckets(-torch.arange(200), bidirectional=False)
shared = (buckets == buckets[64]).nonzero().flatten()
found = int(buckets[64]), int(shared[0]), int(shared[-1])
assert int(buckets[20]) == 17 and buckets[:16].tolist() == list(range(16))  # by hand, above

# %% folded=true
# run this cell to compare your guess
because = {31: "that is the last one, for all distances from 113 on"}
reveal("bucket, first and last distance", found, guess, within=1)
fig, (left, right) = axes(1, 2, xlabel="distance back (tokens)", ylabel="bucket", size=(9.4, 3.2))
left.step(range(200), buckets, where="mid", color=COLORS["blue"])
left.set(title="T5: near distances one by one, far ones together")
right.set(title="ALiBi, four heads: what is added to the score", ylabel="added")
for slope, line, color in zip(alibi_slopes(4).tolist(), ("-", "--", "-.", ":"), COLORS.values()):
    right.plot(range(200), -slope * np.arange(200), line, color=color, label=f"slope 1/{1 / slope:.0f}")
right.set_ylim(-52, 2)
right.legend(fontsize=9)
finish(fig)

# %% [markdown]
# At the slope ¼ a token 40 back has lost 10, a factor of $e^{10} \approx 22{,}000$ in its weight; at 1/256 that takes
# 2,560 tokens. So the heads divide the work by reach. T5's heads learn their reach, up to 128, beyond which they
# cannot tell distances apart. Both are defined for every distance; lecture 03b measures what that is worth beyond the
# length of training.
#
# T5 does not divide scores by $\sqrt d$: the factor is in the initialisation of its query matrices.
#
# ## 3 · A vector for each distance: Shaw and Transformer-XL
#
# **Can the distance depend on what is asked?** A query may look for *the verb, two tokens back*. Then a distance needs
# a vector, which the query is multiplied with, like a key.
#
# **Shaw et al. 2018** add a learned vector $a_{j-i}$ to the key, and another one to the value:
# $s_{ij} = q_i \cdot (k_j + a_{j-i}) / \sqrt d$. Distances beyond `max_distance` share a vector.

# %% folded=true
d = Diagram(74, 9)
d.text(1, 0.7, "which vector a query adds to a key, max_distance 2")
for j in range(5):
    d.text(14.6 + 7 * j, 1.9, f"key {j + 1}", align="middle")
for i in range(5):
    far = [max(-2, min(2, j - i)) for j in range(5)]
    d.text(1, 3.2 + 1.3 * i, f"query {i + 1}")
    names = [f"a{n:+d}" if n else "a0" for n in far]
    colors = ["grey" if j > i else {0: "blue", -1: "sky_blue", -2: "orange"}[far[j]] for j in range(5)]
    d.row(11, 2.5 + 1.3 * i, names, colors, widths=[7] * 5, gap=0.2)
d.text(49, 3.2, "blue: itself")
d.text(49, 4.5, "light blue: one back")
d.text(49, 5.8, "orange: two back or more")
d.text(49, 7.1, "grey: masked in a decoder")
d.show()


# %%
#| export positions
class ShawAttention(nn.Module):
    """A learned vector for each distance, added to the key and to the value (arXiv 1803.02155, equations 3 and 4).

    Distances beyond ``max_distance`` share a vector. All heads of a layer share the table.
    """

    def __init__(self, d_head: int, max_distance: int) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.keys = nn.Embedding(2 * max_distance + 1, d_head)
        self.values = nn.Embedding(2 * max_distance + 1, d_head)

    def forward(self, Q: Tensor, K: Tensor, V: Tensor, mask: Bool[Tensor, "..."] | None = None) -> Tensor:
        far = distances(Q.shape[-2], K.shape[-2], Q.device)
        rows = far.clamp(-self.max_distance, self.max_distance) + self.max_distance
        by_distance = torch.einsum("bhqd,qkd->bhqk", Q, self.keys(rows))
        scores = (Q @ K.mT + by_distance) * Q.shape[-1] ** -0.5
        weights = softmax(scores if mask is None else scores.masked_fill(~mask, -torch.inf), dim=-1)
        return weights @ V + torch.einsum("bhqk,qkd->bhqd", weights, self.values(rows))


# %% [markdown]
# **Transformer-XL** (2019) takes the product of a query and a key that both carry positions apart, and replaces each
# part that holds an absolute position:
#
# | part of $(x_i + p_i) W_Q^\top W_K (x_j + p_j)$ | what it asks | Transformer-XL puts |
# |---|---|---|
# | $x_i \dots x_j$ | content for content | $q_i \cdot k_j$, the same |
# | $x_i \dots p_j$ | content for a place | $q_i \cdot W r_{i-j}$, with sinusoids $r$ of the distance |
# | $p_i \dots x_j$ | a place for content | $u \cdot k_j$: the query's place is gone, a learned $u$ is left |
# | $p_i \dots p_j$ | a place for a place | $v \cdot W r_{i-j}$, with a learned $v$ |
#
# Together: $(q_i + u) \cdot k_j + (q_i + v) \cdot W r_{i-j}$. Because only distances appear, keys and values of the
# last segment of a text can be kept and read as a memory, which was the aim.


# %%
#| export positions
class TransformerXLAttention(nn.Module):
    """(q + u) k + (q + v) W r, with r the sinusoids of the distance to the key (arXiv 1901.02860, section 3.3).

    ``u`` and ``v`` belong to the heads and ``W`` to the layer. For causal attention: keys after the query get no
    position.
    """

    def __init__(self, d_model: int, num_heads: int, d_head: int) -> None:
        super().__init__()
        self.r_proj = nn.Linear(d_model, num_heads * d_head, bias=False)
        self.u = nn.Parameter(torch.zeros(num_heads, 1, d_head))
        self.v = nn.Parameter(torch.zeros(num_heads, 1, d_head))

    def forward(self, Q: Tensor, K: Tensor, V: Tensor, mask: Bool[Tensor, "..."] | None = None) -> Tensor:
        (heads, q, d), k = Q.shape[1:], K.shape[-2]
        waves = sinusoids(torch.arange(k, device=Q.device), self.r_proj.in_features).to(Q.dtype)
        R = self.r_proj(waves).view(k, heads, d).transpose(0, 1)  # by how far back the key lies
        back = (-distances(q, k, Q.device)).clamp(min=0).expand(*Q.shape[:2], q, k)
        by_distance = ((Q + self.v) @ R.mT).gather(-1, back)
        return attend_with_scores(((Q + self.u) @ K.mT + by_distance) * d**-0.5, V, mask)


# %% [markdown]
# Tricks with shapes are easy to get wrong, so here are both formulas once more as plain loops over pairs.

# %%
Q, K, V = (torch.randn(1, 2, 6, 8, generator=draw) for _ in range(3))
causal = distances(6, 6) <= 0
shaw, xl = ShawAttention(8, max_distance=2), TransformerXLAttention(16, 2, 8)
for bias in (xl.u, xl.v):
    nn.init.normal_(bias, generator=draw)


# %%
def by_loops(kind: str, head: int, i: int) -> Tensor:
    """The output of one query, written as the papers write it."""
    q, scores, values = Q[0, head, i], [], []
    for j in range(i + 1):
        k, v, row = K[0, head, j], V[0, head, j], max(j - i, -2) + 2
        if kind == "shaw":
            scores.append(q @ (k + shaw.keys.weight[row]) / 8**0.5)
            values.append(v + shaw.values.weight[row])
        else:
            r = xl.r_proj(sinusoids(torch.tensor(i - j), 16)).view(2, 8)[head]
            scores.append(((q + xl.u[head, 0]) @ k + (q + xl.v[head, 0]) @ r) / 8**0.5)
            values.append(v)
    return torch.stack(scores).softmax(0) @ torch.stack(values)


if READY.or_show("by loops"):
    with torch.no_grad():
        for kind, attend in (("shaw", shaw), ("transformer_xl", xl)):
            looped = torch.stack([torch.stack([by_loops(kind, h, i) for i in range(6)]) for h in range(2)])
            off = (attend(Q, K, V, causal)[0] - looped).abs().max().item()
            print(f"{kind}: the class and the loops differ by {off:.0e} at most")
            assert off < 1e-5, YOURS

# %% [markdown]
# ## 4 · What each scheme adds to a score
#
# Take vectors of ones as queries and keys, so that positions alone count. **Predict.** Which of the four pictures have
# straight diagonals, that is, depend on the distance alone?

# %%
guess = None  # names out of sinusoidal, rope, alibi, t5


def score_pattern(scheme: str, n: int = 48, d: int = 32) -> np.ndarray:
    """What positions alone do to the scores of n queries and n keys, in the head with index 1 of 4."""
    where, ones = torch.arange(n), torch.ones(n, d)
    if scheme == "sinusoidal":
        rows = sinusoids(where, d)
        return (rows @ rows.T / d).numpy()
    if scheme == "rope":
        turned = RotaryPositionalEmbedding(10_000.0, d, n)(ones, where)
        return (turned @ turned.T / d).numpy()
    if scheme == "alibi":
        return (-distances(n, n).abs() * alibi_slopes(4)[1]).numpy()
    table = nn.Embedding(32, 1, _weight=torch.randn(32, 1, generator=torch.Generator().manual_seed(0)))
    return table(t5_buckets(distances(n, n), bidirectional=False))[..., 0].detach().numpy()


if READY.or_show("score patterns"):
    patterns = {name: score_pattern(name) for name in ("sinusoidal", "rope", "alibi", "t5")}
    straight = [name for name, p in patterns.items() if np.abs(p[1:, 1:] - p[:-1, :-1]).max() < 1e-5]

# %% folded=true
# run this cell to compare your guess
if READY.or_show("score patterns, compared"):
    reveal("depend on the distance alone", sorted(straight), sorted(guess) if guess else None)
    assert len(straight) == 4, YOURS
    fig, panels = axes(2, 2, xlabel="key (position)", ylabel="query (position)", size=(8.6, 7))
    titles = ("sinusoids", "RoPE", "ALiBi, slope 1/16", "T5, a random table")
    for ax, title, pattern in zip(panels.flat, titles, patterns.values()):
        drawn = ax.imshow(np.where(np.tri(len(pattern)) > 0, pattern, np.nan), cmap="viridis")
        ax.set(title=title)
        fig.colorbar(drawn, ax=ax, label="added to the score", shrink=0.85)
    display(finish(fig))

# %% [markdown]
# All four do. For sinusoids it holds only until the query and key matrices mix their dimensions (section 1); RoPE
# turns *after* those matrices, so for RoPE it always holds. Sinusoids and RoPE look alike here because both are the
# sum of $\cos((i - j)\,\theta)$ over the same speeds: with vectors of ones that is all that is left. T5's stripes are
# wide where a bucket holds many distances.
#
# ## 5 · Who may see whom? Masks, and GLM's blanks (注意力掩码)
#
# Lecture 03 draws padding, causal, prefix and full masks with tokens on the axes. Here are the functions.


# %%
#| export positions
def mask_of_padding(real: Bool[Tensor, "batch k"]) -> Bool[Tensor, "batch 1 1 k"]:
    """No query attends to a token that is padding: ``real`` is False there.

    >>> mask_of_padding(torch.tensor([[True, True, False]])).int().tolist()
    [[[[1, 1, 0]]]]
    """
    return real[:, None, None, :]


def as_padding(real: Tensor, batch: int, k: int) -> Bool[Tensor, "{batch} {k}"]:
    """``real`` as booleans; ValueError for other numbers than 0 and 1, and for another shape than (batch, k) or (1, k).

    >>> as_padding(torch.tensor([[0, 1, 1]]), 1, 3).tolist()
    [[False, True, True]]
    """
    if tuple(real.shape) not in ((batch, k), (1, k)):
        raise ValueError(f"padding has the shape {tuple(real.shape)}, and here (batch, k) is {(batch, k)}")
    if real.dtype != torch.bool and not ((real == 0) | (real == 1)).all():
        raise ValueError("padding holds other numbers than 1, for a real token, and 0")
    return real.bool().expand(batch, k)


def prefix_mask(prefix: Int[Tensor, " batch"], q: int, k: int) -> Bool[Tensor, "batch 1 {q} {k}"]:
    """Everybody sees the first ``prefix[b]`` tokens, and of the others those that are not later (arXiv 1910.10683).

    The queries are the last ``q`` of ``k`` tokens; a prefix of 0 or 1 is the causal mask.

    >>> prefix_mask(torch.tensor([2]), 3, 3)[0, 0].int().tolist()
    [[1, 1, 0], [1, 1, 0], [1, 1, 1]]
    """
    in_prefix = torch.arange(k, device=prefix.device) < prefix[:, None, None, None]
    return in_prefix | (distances(q, k, prefix.device) <= 0)


# %% [markdown]
# **How can one model both understand and write?** GLM's answer (自回归填空): cut spans out of a text. **Part A** is what is
# left, with one mask token for each span. **Part B** is the spans, in any order. All of A sees all of A, *and nothing
# of B*; a token of B sees A, and what stands before it in B. It is often said that A and B never see each other; half
# of that is wrong.
#
# The mask is a prefix mask, and nothing new. What is new is where the tokens of B say they are. Each has **two
# positions**: the first is the place of its blank in A, the second counts inside the span. So a span has no length
# that A could betray.
#
# By hand: of *the cat sat on the mat* cut out *the mat* (first span) and *sat* (second).

# %% folded=true
d = Diagram(98, 8.6)
names = ["the", "cat", "[M]", "on", "[M]", "[S]", "the", "mat", "[S]", "sat"]
first, second, targets = (
    [0, 1, 2, 3, 4, 4, 4, 4, 2, 2],
    [0] * 5 + [1, 2, 3, 1, 2],
    ["·"] * 5 + ["the", "mat", "[E]", "sat", "[E]"],
)
d.text(17, 0.7, "part A: what is left")
d.text(53, 0.7, "part B: two spans")
colors = ["blue", "blue", "orange", "blue", "orange"] + ["vermillion"] * 5
d.row(16, 1.5, names, colors, widths=[7.4] * 10)
for y, title, row in ((3.5, "place in A", first), (4.8, "place in span", second), (6.3, "to be written", targets)):
    d.text(1, y, title)
    for i, word in enumerate(row):
        d.text(19.5 + 7.4 * i, y, str(word), align="middle", mono=True)
d.text(16, 7.9, "[M] a blank · [S] begins a span · [E] ends it")
d.show()


# %%
#| export positions
def fill_in_blanks(
    tokens: list[int], spans: list[tuple[int, int]], *, mask_id: int, start_id: int, end_id: int
) -> dict[str, Tensor]:
    """GLM's task (arXiv 2103.10360, section 2.1): part A with a mask for each span, then part B, the spans in the order given.

    Returns ``tokens`` (seq,), ``targets`` (seq,) with -100 in A, ``positions`` (2, seq) and ``prefix``, the length of A,
    for `prefix_mask`. The first row of positions says where in A a token stands (a token of a span: where its mask does),
    the second where in its span, from 1, and 0 in A. ValueError for spans that overlap, are empty or lie outside.
    """
    places = sorted(spans)
    if any(not 0 <= a < b <= len(tokens) for a, b in places) or any(p[1] > n[0] for p, n in pairwise(places)):
        raise ValueError(f"spans {spans} must be (start, stop) within {len(tokens)} tokens and not overlap")
    part_a, where, last = [], {}, 0
    for a, b in places:
        part_a += tokens[last:a]
        where[a], last = len(part_a), b
        part_a.append(mask_id)
    part_a += tokens[last:]
    part_b = [[start_id, *tokens[a:b]] for a, b in spans]
    return _joined(part_a, part_b, [[*tokens[a:b], end_id] for a, b in spans], [where[a] for a, _ in spans])


# %%
#| export positions
def _joined(
    part_a: list[int], part_b: list[list[int]], targets: list[list[int]], where: list[int]
) -> dict[str, Tensor]:
    n = len(part_a)
    first = [*range(n), *(at for at, span in zip(where, part_b) for _ in span)]
    second = [0] * n + [i for span in part_b for i in range(1, len(span) + 1)]
    return {
        "tokens": torch.tensor([*part_a, *chain(*part_b)]),
        "targets": torch.tensor([*[-100] * n, *chain(*targets)]),
        "positions": torch.tensor([first, second]),
        "prefix": torch.tensor(n),
    }


# %% [markdown]
# **Predict.** Ten tokens, of which the second to fourth and the eighth are cut out. How long is part A? How many rows
# has part B?

# %%
guess = None  # (length of A, rows of B)

longer = fill_in_blanks(list(range(11, 21)), [(1, 4), (7, 8)], mask_id=1, start_id=2, end_id=3)
a, b = int(longer["prefix"]), len(longer["tokens"]) - int(longer["prefix"])

# %% folded=true
# run this cell to compare your guess
because = {4: "each span begins with a start token"}
reveal("A, B", (a, b), guess, within=1)
ids = {"the": 11, "cat": 12, "sat": 13, "on": 14, "mat": 15, "[M]": 1, "[S]": 2, "[E]": 3}
blank = fill_in_blanks([11, 12, 13, 14, 11, 15], [(4, 6), (2, 3)], mask_id=1, start_id=2, end_id=3)
assert blank["tokens"].tolist() == [ids[name] for name in names]  # the diagram above
assert blank["positions"].tolist() == [first, second]
assert blank["targets"].tolist() == [-100 if word == "·" else ids[word] for word in targets]
mask = prefix_mask(blank["prefix"][None], 10, 10)[0, 0]
fig, ax = axes(xlabel="key: is read", ylabel="query: reads", size=(4.8, 4.4))
ax.imshow(mask, cmap="Blues", vmin=-0.3, vmax=1.4)
ax.set(title="GLM: dark = may attend", xticks=range(10), yticks=range(10))
ax.set_xticklabels(names, rotation=60)
ax.set_yticklabels(names)
for at in (4.5, 7.5):
    ax.axhline(at, color=COLORS["vermillion"], linewidth=1)
    ax.axvline(at, color=COLORS["vermillion"], linewidth=1)
finish(fig)

# %% [markdown]
# The lower left part is dark: B sees A. The upper right part is light: A does not see B. The second span sees the
# first, since it is written after it. With one span at the end of a text this is a prefix language model; with short
# spans it is close to BERT's task.
#
# ## Limits
#
# - Transformer-XL's scheme here is for causal attention. The original shares $u$ and $v$ in all layers; ours has them
#   in each.
# - Shaw's table is shared by the heads of a layer, as in the paper's implementation; others give each head its own.
# - These schemes put their numbers into the scores, so they cannot use PyTorch's fused kernel as `attend="sdpa"` does.
