"""Numbers drawn from the generator, and how near an answer must be."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from cs336lite.course.answers import close


def generator(rng: random.Random) -> torch.Generator:
    return torch.Generator().manual_seed(rng.getrandbits(60))


def normal(rng: random.Random, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(rng))


def alike(answer: Any, right: Tensor, tolerance: float = 1e-4) -> bool:
    return close(answer, right.double(), tolerance, tolerance)


def ceil(n: int, size: int) -> int:
    return -(-n // size)


def some_values(rng, *counts: int) -> list[Tensor]:
    return [normal(rng, count) for count in counts]
