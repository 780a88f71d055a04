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
# stands. This appendix builds `cs336lite.positions`, with all of them that the model of lecture 03b can be told to use:
# sinusoids, learned rows, Shaw's vectors, Transformer-XL, T5's buckets, ALiBi; and the masks for padding, a prefix and
# GLM's blanks. Read it when you meet one of them in a paper.

# %%
import numpy as np
from IPython.display import display

from cs336lite.course import whose
from cs336lite.course.measure import reveal
from cs336lite.course.plot import axes, finish

READY = whose("attention", "rope", lecture="03x_positions")
YOURS = "this runs on your attention and your RoPE: do check('a2_attention') and check('a3_rope') pass?"

# %% [markdown]
# ## 1 · Where is a token? (位置编码)
#
# Attention sees a *set* of tokens. Somebody must tell it their order:
#
# | scheme | where it acts | seen in |
# |---|---|---|
# | sinusoids (正弦), fixed | added to the embedding | the Transformer of 2017 |
# | learned rows | added to the embedding | GPT-2, StarCoder; the 2017 paper found them about equal |
# | Shaw et al. 2018: a vector for each distance | added to keys and values | the first relative scheme (arXiv 1803.02155) |
# | Transformer-XL 2019: sinusoids of the distance, and two biases | in the scores | Transformer-XL (1901.02860) |
# | T5 2019: a number for each head and range of distances | added to the scores | T5 |
# | RoPE 2021 (旋转位置编码): queries and keys turn with their position | on queries and keys | PaLM, Llama, GLM (2104.09864) |
# | ALiBi 2021: a fixed slope for each head times the distance | added to the scores | BLOOM (2108.12409) |


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
# ### What each scheme adds to a score
#
# **Predict.** Take vectors of ones as queries and keys, so that only positions count. Which pictures have straight
# diagonals, that is, depend on the distance alone?

# %%
guess = None


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


# %%
if READY.or_show("score patterns"):
    patterns = {name: score_pattern(name) for name in ("sinusoidal", "rope", "alibi", "t5")}
    fig, row = axes(1, 4, xlabel="key", ylabel="query", size=(10.4, 2.9))
    titles = ("sinusoids", "RoPE", "ALiBi", "T5, untrained")
    for ax, title, pattern in zip(row, titles, patterns.values()):
        ax.imshow(np.where(np.tri(len(pattern)) > 0, pattern, np.nan), cmap="viridis")
        ax.set(title=title)
        ax.grid(False)
    straight = {name: bool(np.abs(p[1:, 1:] - p[:-1, :-1]).max() < 1e-5) for name, p in patterns.items()}
    reveal("depend on the distance alone", straight, guess)
    # sinusoids too, as long as no matrix stands between: cos(a) cos(b) + sin(a) sin(b)
    assert all(straight.values()), YOURS
    rows = sinusoids(torch.arange(48), 32) @ torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    mixed = (rows @ rows.T).numpy()
    assert np.abs(mixed[1:, 1:] - mixed[:-1, :-1]).max() > 0.1, YOURS  # with a projection they no longer do
    display(finish(fig))

# %% [markdown]
# All four do, yet for sinusoids it holds only until the query and key matrices mix their dimensions. RoPE turns *after*
# those matrices, so for RoPE it always holds.
#
# ## 2 · Who may see whom? (注意力掩码)
#
# - **Padding** (填充): texts of different lengths in one batch; nobody attends to the filling.
# - **Causal** (因果): a token sees itself and what came before. GPT, Llama, PaLM.
# - **Prefix** (前缀): a first part that sees all of itself, then causal. Prefix-LM in the T5 paper, U-PaLM.
# - **GLM's blanks** (自回归填空): spans are cut out of the text. Part A is what is left, with one mask token for each
#   span; part B is the spans in random order. A sees all of A *and nothing of B*; each token of B sees A and what comes
#   before it in B (arXiv 2103.10360). It is often said that A and B never see each other: half of that is wrong. The
#   mask is a prefix mask; what is special is where the tokens of B say they are: each has the place of its blank, and
#   a second position inside the span.


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
# **Predict.** Six tokens, of which the fifth and sixth (first span) and the third (second span) are cut out. How long is
# part A? How many rows has part B?

# %%
guess = None  # (length of A, rows of B)

blank = fill_in_blanks([11, 12, 13, 14, 15, 16], [(4, 6), (2, 3)], mask_id=1, start_id=2, end_id=3)
n = len(blank["tokens"])
for name in ("tokens", "positions", "targets"):
    print(f"{name:<10}", str(blank[name].tolist()).replace("-100", "·"))
reveal("A, B", (int(blank["prefix"]), n - int(blank["prefix"])), guess)
none, causal = torch.zeros(1, dtype=torch.int64), distances(n, n) <= 0
masks = {
    "padding": mask_of_padding((torch.arange(n) < n - 3)[None])[0, 0].expand(n, n),
    "causal": causal,
    "prefix of 4": prefix_mask(none + 4, n, n)[0, 0],
    "GLM, A of 5 and B of 5": prefix_mask(blank["prefix"][None], n, n)[0, 0],
}
fig, row = axes(1, 4, xlabel="key", ylabel="query", size=(10.4, 2.9))
for ax, (name, mask) in zip(row, masks.items()):
    ax.imshow(mask, cmap="Blues", vmin=-0.3, vmax=1.4)
    ax.set(title=name)
    ax.grid(False)
assert torch.equal(prefix_mask(none, n, n)[0, 0], causal) and blank["targets"].tolist()[5:] == [15, 16, 3, 13, 3]
finish(fig)
