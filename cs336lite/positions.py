# Built from notebooks/text/appendix/03x_positions.py by `cs336lite build`: edit that file, not this one.
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

BOUNDED = ("learned", "glm", "rope", "rope_half")
"""Position schemes of `cs336lite.model` that know no position beyond ``context_length``: rows and tables of angles end."""


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
