"""RoPE whose frequencies are scaled, for the slot ``rope``: linear, Llama 3.1, YaRN. And RoPE as config.json has it.

Position interpolation: Chen et al. 2023, arXiv 2306.15595. YaRN: Peng et al. 2023, arXiv 2309.00071. Llama 3.1:
Grattafiori et al. 2024, arXiv 2407.21783. The formulas are those of transformers 5.23, modeling_rope_utils.py, and the
tests compare the logits.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cs336lite.course.hugging_face.settings import Settings
from cs336lite.model import TransformerConfig


class ScaledRope(nn.Module):
    """Turns pair i of ``x`` at position m by the angle m * frequencies[i], and multiplies what turns by ``magnitude``.

    ``frequencies`` are (pairs,), float64. ``layout`` is "half" or "interleaved", as for `RotaryPositionalEmbedding`.
    ValueError for positions outside 0 <= position < ``max_seq_len``.
    """

    def __init__(self, frequencies: Tensor, max_seq_len: int, layout: str, magnitude: float = 1.0) -> None:
        super().__init__()
        self.frequencies, self.magnitude = frequencies.tolist(), magnitude
        self.max_seq_len, self.layout = max_seq_len, layout
        self.register_buffer("table", self._make_table(None), persistent=False)

    def forward(
        self, x: Float[Tensor, "*batch seq d"], token_positions: Int[Tensor, "..."]
    ) -> Float[Tensor, "*batch seq d"]:
        if token_positions.device.type == "cpu" and token_positions.numel():
            low, high = (int(bound) for bound in token_positions.aminmax())
            if low < 0 or high >= self.max_seq_len:
                known = f"those known here from 0 to {self.max_seq_len - 1}"
                raise ValueError(f"token_positions run from {low} to {high}, and {known}")
        cos, sin = nn.functional.embedding(token_positions, self.table).chunk(2, dim=-1)
        if self.layout == "half":
            first, second = x.chunk(2, dim=-1)
            return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1).to(x.dtype)
        first, second = x[..., ::2], x[..., 1::2]
        return torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(-2).to(x.dtype)

    def _make_table(self, device: torch.device | None) -> Float[Tensor, "max_seq_len d"]:
        """One row a position: the cosines of all pairs, then their sines."""
        positions = torch.arange(self.max_seq_len, dtype=torch.float64, device="cpu")
        angles = positions[:, None] * torch.tensor(self.frequencies, dtype=torch.float64, device="cpu")
        return (torch.cat((angles.cos(), angles.sin()), dim=-1) * self.magnitude).float().to(device)

    def _apply(self, fn: Callable, recurse: bool = True) -> "ScaledRope":
        """A table that ``.to`` rounds or leaves empty is made anew."""
        was_empty = self.table.is_meta
        super()._apply(fn, recurse)
        if self.table.dtype != torch.float32 or was_empty:
            self.table = self._make_table(self.table.device)
        return self


@dataclass(frozen=True)
class LinearRope:
    """The slot ``rope``: all angles divided by ``factor``, which is to divide the positions (arXiv 2306.15595)."""

    factor: float
    magnitude = 1.0

    def __call__(self, config: TransformerConfig) -> nn.Module:
        turned = config.rotary_dim or config.head_size
        exponents = torch.arange(0, turned, 2, dtype=torch.float64, device="cpu") / turned
        frequencies = self.scaled(config.rope_theta**-exponents, config.rope_theta)
        layout = "half" if config.positions == "rope_half" else "interleaved"
        return ScaledRope(frequencies, config.context_length, layout, self.magnitude)

    def scaled(self, frequencies: Float[Tensor, " pairs"], theta: float) -> Float[Tensor, " pairs"]:
        return frequencies / self.factor


@dataclass(frozen=True)
class Llama3Rope(LinearRope):
    """Slow pairs are divided by ``factor``, fast ones are not, and between the two it goes over smoothly.

    A pair is fast if it turns more than ``high`` times within the ``original`` context, slow if less than ``low`` times.
    """

    low: float
    high: float
    original: int

    def scaled(self, frequencies: Float[Tensor, " pairs"], theta: float) -> Float[Tensor, " pairs"]:
        turns = self.original * frequencies / (2 * math.pi)
        fast = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
        return (1 - fast) * frequencies / self.factor + fast * frequencies


@dataclass(frozen=True)
class YarnRope(LinearRope):
    """As Llama 3.1's, with the border at pairs instead of turns, and longer queries and keys (arXiv 2309.00071)."""

    original: int
    magnitude: float
    fast: float = 32.0
    slow: float = 1.0
    truncate: bool = True

    def scaled(self, frequencies: Float[Tensor, " pairs"], theta: float) -> Float[Tensor, " pairs"]:
        dim = 2 * len(frequencies)
        low, high = (
            dim * math.log(self.original / (turns * 2 * math.pi)) / (2 * math.log(theta))
            for turns in (self.fast, self.slow)
        )
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, dim - 1)
        high += 0.001 * (low == high)
        slow = ((torch.arange(dim // 2, dtype=torch.float64, device="cpu") - low) / (high - low)).clamp(0, 1)
        return slow * frequencies / self.factor + (1 - slow) * frequencies


def _yarn(given: Settings, original: int, context: int) -> YarnRope:
    factor = given.positive("factor", default=None) or context / original
    scale, over = (given.number(name, default=None) for name in ("mscale", "mscale_all_dim"))

    def length(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    magnitude = given.positive("attention_factor", default=None)
    if magnitude is None:
        magnitude = length(scale) / length(over) if scale and over else length(1.0)
    fast, slow = (given.number(name, default=None) for name in ("beta_fast", "beta_slow"))
    return YarnRope(factor, original, magnitude, fast or 32.0, slow or 1.0, given.flag("truncate", default=True))


def _scaling(kind: str, key: str, s: Settings, given: Settings, context: int) -> LinearRope | None:
    """What goes into the slot; None where RoPE is plain within the context."""
    if kind in ("default", "dynamic"):  # dynamic NTK begins beyond max_position_embeddings, where this model ends
        given.asked.update(("factor", "original_max_position_embeddings"))
        return None
    if kind not in ("linear", "llama3", "yarn"):
        raise ValueError(
            f"{key}: RoPE of the type {kind!r} is not supported; what is: default, linear, dynamic, llama3, yarn"
        )
    if kind == "linear":
        return LinearRope(given.positive("factor"))
    outside = s.size("original_max_position_embeddings", default=None)  # this one counts where both are there
    original = outside or given.size("original_max_position_embeddings", default=context)
    given.asked.add("original_max_position_embeddings")
    if kind == "yarn":
        return _yarn(given, original, context)
    low, high = given.number("low_freq_factor"), given.number("high_freq_factor")
    if low >= high:
        raise ValueError(f"{key}: low_freq_factor is {low}, and must be below high_freq_factor, {high}")
    return Llama3Rope(given.positive("factor"), low, high, original)


def rope_fields(
    s: Settings, d_head: int, context: int, part: float = 1.0, theta_key: str = "rope_theta",
    part_key: str = "partial_rotary_factor",
) -> dict[str, Any]:  # fmt: skip
    """The fields of RoPE that turns ``part`` of a head unless the file says otherwise.

    Where ``rope_scaling`` says something it stands in the place of the newer ``rope_parameters``; the ``rope_theta`` beside
    them counts where they have none.
    """
    key = "rope_scaling" if s.values.get("rope_scaling") else "rope_parameters"
    tables = {name: s.table(name) for name in ("rope_scaling", "rope_parameters")}
    given = Settings(tables[key], key)
    given.asked.update(("type", "finetuned"))
    kind = given.values.get("rope_type", given.values.get("type", "default"))
    if nested := [name for name, value in given.values.items() if isinstance(value, dict)]:
        raise ValueError(f"{key} differs from layer to layer ({', '.join(nested)}), which is not supported")
    theta, share = s.number(theta_key, default=10_000.0), s.number(part_key, default=part)
    theta, share = given.number("rope_theta", default=theta), given.number("partial_rotary_factor", default=share)
    turned = int(d_head * share)
    if theta == 0 or turned % 2 or not 2 <= turned <= d_head:
        raise ValueError(
            f"rope_theta {theta}, head_dim {d_head} (hidden_size / num_attention_heads unless given) and "
            f"partial_rotary_factor {share} are no RoPE, whose theta is above 0 and which turns an even number of dimensions, "
            f"from 2 to all of a head. Other names of the two are {theta_key} and {part_key}"
        )
    slot = _scaling(kind, key, s, given, context)
    for name, value in given.values.items():
        if name not in given.asked | {"rope_type"} and value is not None:
            raise ValueError(
                f"{key}: {name} = {value!r} is not known for RoPE of the type {kind!r}; take a model without it"
            )
    if slot is not None and theta == 1:
        raise ValueError(f"{key}: {theta_key} is 1, and all pairs turn alike: there is nothing to scale")
    return {"rope_theta": float(theta), "rotary_dim": None if turned == d_head else turned, "rope": slot}
