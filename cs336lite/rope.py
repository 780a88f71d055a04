# Built from assignments/text/a3_rope.py by `cs336lite build`: edit that file, not this one.
"""Rotary position embedding (旋转位置编码): queries and keys turn with their position, so that scores see distances.

Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding", https://arxiv.org/abs/2104.09864.

Shapes: x is (..., seq, d_k); a head's d_k dimensions form d_k / 2 pairs. In the layout "interleaved" pair i is the
dimensions (2i, 2i + 1), as in the paper; in "half" it is (i, i + d_k / 2), as in Hugging Face's Llama.

Built in assignments/source/a3_rope/a3_rope.ipynb.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def rotation_angles(positions: Int[Tensor, "..."], d_k: int, theta: float) -> Float[Tensor, "... pairs"]:
    """The angle in radians of each of the d_k / 2 pairs at each position: m * theta ** (-2i / d_k).

    >>> rotation_angles(torch.tensor([0, 4]), d_k=4, theta=100.0).tolist()
    [[0.0, 0.0], [4.0, 0.4]]
    """
    if not 0 < theta < float("inf"):
        raise ValueError(f"theta is {theta}: it must be above 0 and finite")
    exponents = torch.arange(0, d_k, 2, dtype=torch.float64, device=positions.device) / d_k
    return positions[..., None] * theta**-exponents


def rotate_pairs(
    x: Float[Tensor, "... d_k"], cos: Float[Tensor, "... pairs"], sin: Float[Tensor, "... pairs"]
) -> Float[Tensor, "... d_k"]:
    """``x`` with its pairs (2i, 2i + 1) turned counter-clockwise by the angle of which ``cos`` and ``sin`` are given.

    >>> rotate_pairs(torch.tensor([1.0, 0.0, 0.0, 5.0]), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])).tolist()
    [0.0, 1.0, 0.0, 5.0]
    """
    if not x.is_floating_point():
        raise TypeError(f"x is {x.dtype}: what turns must be floating-point numbers")
    # A pair is a complex number, and to turn it is one product: on a CPU several times as fast as with slices and stack.
    wide = x.to(torch.promote_types(x.dtype, cos.dtype))
    pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2).to(x.dtype)


def rotate_halves(
    x: Float[Tensor, "... d_k"], cos: Float[Tensor, "... pairs"], sin: Float[Tensor, "... pairs"]
) -> Float[Tensor, "... d_k"]:
    """As `rotate_pairs`, with the pairs (i, i + d_k / 2).

    >>> rotate_halves(torch.tensor([1.0, 0.0, 0.0, 5.0]), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])).tolist()
    [0.0, 0.0, 1.0, 5.0]
    """
    if not x.is_floating_point():
        raise TypeError(f"x is {x.dtype}: what turns must be floating-point numbers")
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)
    return turned.to(x.dtype)  # bfloat16 times float32 is float32


def interleaved_to_half(x: Tensor, dim: int = -1) -> Tensor:
    """``x`` with dimension ``dim`` in the order of the layout "half", taken from "interleaved".

    >>> interleaved_to_half(torch.tensor([0, 1, 2, 3, 4, 5])).tolist()
    [0, 2, 4, 1, 3, 5]
    """
    order = torch.arange(x.shape[dim], device=x.device).view(-1, 2).T.flatten()
    return x.index_select(dim, order)


def half_to_interleaved(x: Tensor, dim: int = -1) -> Tensor:
    """``x`` with dimension ``dim`` in the order of the layout "interleaved", taken from "half".

    >>> half_to_interleaved(torch.tensor([0, 2, 4, 1, 3, 5])).tolist()
    [0, 1, 2, 3, 4, 5]
    """
    order = torch.arange(x.shape[dim], device=x.device).view(2, -1).T.flatten()
    return x.index_select(dim, order)


def look_up(table: Float[Tensor, "max_seq_len n"], token_positions: Int[Tensor, "..."]) -> Float[Tensor, "... n"]:
    """The row of ``table`` for each position.

    Raises ValueError (or IndexError) for a position outside 0 <= position < max_seq_len.

    >>> look_up(torch.tensor([[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]]), torch.tensor([2, 0])).tolist()
    [[2.0, 2.5], [0.0, 0.5]]
    """
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

    def forward(
        self, x: Float[Tensor, "*batch seq d_k"], token_positions: Int[Tensor, "..."]
    ) -> Float[Tensor, "*batch seq d_k"]:
        """``x`` turned by its positions, in the dtype of ``x``; ``token_positions`` broadcasts to ``x.shape[:-1]``.

        Raises ValueError (or IndexError) for a position outside 0 <= position < max_seq_len.
        """
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
    scores = rope(q, q_positions) @ rope(k, k_positions).transpose(-2, -1) / q.shape[-1] ** 0.5
    return scores.softmax(dim=-1) @ v


def rotate_part(
    rope: Callable[[Tensor, Tensor], Tensor],
    x: Float[Tensor, "*batch seq d_head"],
    token_positions: Int[Tensor, "..."],
    rotary_dim: int,
) -> Float[Tensor, "*batch seq d_head"]:
    """``x`` with its first ``rotary_dim`` dimensions turned by ``rope``, made for that many; the rest is as it was."""
    turned = rope(x[..., :rotary_dim], token_positions)
    return torch.cat((turned, x[..., rotary_dim:]), dim=-1)


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
