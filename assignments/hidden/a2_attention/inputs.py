"""Numbers drawn from the generator, and the weights of one head."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from numpy import ndarray
from torch import Tensor

from cs336lite.course.spec import drawn as drawn_once

INF = float("inf")


def drawn(draw: Callable) -> Callable:
    """`spec.drawn` for values that hold tensors, which pickle copies ten times slower than arrays."""
    remembered = drawn_once(lambda rng, *args: exchanged(draw(rng, *args), Tensor, Tensor.numpy))
    return wraps(draw)(lambda rng, *args: exchanged(remembered(rng, *args), ndarray, torch.from_numpy))


def exchanged(value: Any, kind: type, change: Callable) -> Any:
    """A value in which everything of one kind has been changed, in lists, tuples and dicts too."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(exchanged(part, kind, change) for part in value)
    if isinstance(value, dict):
        return {key: exchanged(part, kind, change) for key, part in value.items()}
    return value


def normal(rng, *shape: int) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(rng.getrandbits(60)), dtype=torch.float64)


def symmetric(rng, n: int) -> Tensor:
    """A symmetric matrix: along the other dimension its softmax is the same, transposed."""
    half = normal(rng, n, n)
    return half + half.mT


@drawn
def one_head(rng, n: int = 6) -> tuple[Any, ...]:
    """Weights that are the same transposed, with the identity for o_proj; and x."""
    weights = {f"{name}_proj.weight": symmetric(rng, 4) for name in "qkv"}
    return weights | {"o_proj.weight": torch.eye(4, dtype=torch.float64)}, normal(rng, 2, n, 4)
