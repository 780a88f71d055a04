"""Asking for the path of a parameter, through the class or through the small functions."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cs336lite.course.answers import anything, ask, close, like, list_of
from cs336lite.course.spec import drawn, expect

from .lion import DEFAULTS, momenta_of


def expect_a_parameter(p: Tensor, start: Tensor) -> None:
    expect(isinstance(p, Tensor) and p.shape == start.shape, "a parameter must keep its shape")
    expect(bool(p.isfinite().all()), "parameters become nan or infinite")


def numbers(rng: random.Random, *shape: int) -> Tensor:
    """Random multiples of 1/64 between 1 and 4, of either sign: float32 adds powers of two to them without rounding."""
    generator = torch.Generator().manual_seed(rng.getrandbits(48))
    size = torch.randint(64, 257, shape, generator=generator) / 64
    return size * (torch.randint(0, 2, shape, generator=generator) * 2 - 1)


def spread(rng: random.Random, *shape: int) -> Tensor:
    """Random numbers of either sign with sizes from 1/30 to 30."""
    generator = torch.Generator().manual_seed(rng.getrandbits(48))
    size = 10 ** (torch.rand(shape, generator=generator) * 3 - 1.5)
    return size * (torch.randint(0, 2, shape, generator=generator) * 2 - 1)


def some_betas(rng: random.Random) -> tuple[float, float]:
    return round(rng.uniform(0.55, 0.7), 3), round(rng.uniform(0.8, 0.9), 3)


CLASS, UPDATE, DIRECTION = "Lion", "lion_update_", "lion_direction"


def drive_alone(student, via, start, gradients, options):
    """A parameter after each step, and what is then kept for it that has its shape."""
    import torch

    seen = []
    if via == "lion_update_":
        p, momentum = start.clone(), torch.zeros_like(start)
        with torch.no_grad():
            for gradient in gradients:
                given = gradient.clone()
                student.lion_update_(p, given, momentum, options["lr"], options["betas"], options["weight_decay"])
                seen.append((p.clone(), [momentum.clone()]))
        return seen
    p = torch.nn.Parameter(start.clone())
    lion = student.Lion([p], **options)
    for gradient in gradients:
        p.grad = gradient.clone()
        lion.step()
        kept = getattr(lion, "state", None)
        kept = kept.get(p) if isinstance(kept, dict) else None
        kept = list(kept.values()) if isinstance(kept, dict) else []
        kept = [v.detach().clone() for v in kept if isinstance(v, torch.Tensor) and v.shape == p.shape]
        seen.append((p.detach().clone(), kept))
    return seen


def drive_directions(student, gradients, momenta, beta1):
    rows = zip(gradients, momenta, strict=True)
    return [student.lion_direction(gradient.clone(), momentum.clone(), beta1) for gradient, momentum in rows]


@dataclass(frozen=True)
class Walk:
    """The way of one parameter, and what was kept for it meanwhile."""

    path: Tensor  # (steps + 1, ...), in float64
    gradients: Tensor  # (steps, ...), in float64
    kept: list[Tensor]  # each (steps + 1, ...), in float64; 0 at first

    @property
    def steps(self) -> Tensor:
        return self.path.diff(dim=0)

    @property
    def still(self) -> bool:
        return close(self.path, self.path[:1].expand_as(self.path), 1e-7)

    def without_shrinking(self, lr: float) -> Walk:
        """The same without a decay by 1 - lr in each step."""
        steps = self.steps + lr * self.path[:-1]
        return replace(self, path=torch.cat([self.path[:1], self.path[0] + steps.cumsum(0)]))


def walk(student, via: str, start: Tensor, gradients: list[Tensor] | Tensor, options: dict) -> Walk:
    gradients = list(gradients)
    g = torch.stack(gradients).double()
    if via == DIRECTION:  # nothing but the direction is the student's
        lr, (beta1, beta2), wd = options["lr"], options["betas"], options["weight_decay"]
        momenta = momenta_of(g, beta2, 1 - beta2, torch.zeros_like(g[0])).float()
        form = list_of(like(start, dtype=None), len(gradients))
        found = ask(student, form, drive_directions, gradients, list(momenta[:-1]), beta1)
        path = [start.double()]
        for c in found:
            path.append(path[-1] * (1 - lr * wd) - lr * c.double())
        return Walk(torch.stack(path), g, [momenta.double()])
    form = list_of([anything, list_of(anything, least=0, most=20)], len(gradients))
    seen = ask(student, form, drive_alone, via, start, gradients, options)
    for p, kept in seen:
        expect_a_parameter(p, start)
        expect(all(isinstance(m, Tensor) and m.shape == start.shape for m in kept), "a momentum must keep its shape")
    path = torch.stack([start, *(p.to(start.dtype) for p, _ in seen)]).double()
    number = min(len(kept) for _, kept in seen)
    kept = [torch.stack([torch.zeros_like(start), *(k[i] for _, k in seen)]).double() for i in range(number)]
    return Walk(path, g, kept)


@drawn
def ordinary(rng, steps: int, number: int) -> tuple[Tensor, Tensor]:
    """Parameters, and gradients with which no direction is so near to 0 that rounding could turn its sign."""
    beta1, beta2 = DEFAULTS
    start, g = numbers(rng, number), spread(rng, steps, 4 * number).double()
    m = momenta_of(g, beta2, 1 - beta2, torch.zeros_like(g[0]))[:-1]
    clear = (beta1 * m + (1 - beta1) * g).abs() > 1e-3 * (beta1 * m.abs() + (1 - beta1) * g.abs())
    return start, g[:, clear.all(0)][:, :number].float()


def led_to(start: Tensor, gradients: Tensor, rates: list[float], weight_decay: float, *, decay_first: bool) -> Tensor:
    """Where the steps of a Lion lead, in float64."""
    (beta1, beta2), p = DEFAULTS, start.double()
    m = torch.zeros_like(p)
    for g, lr in zip(gradients.double(), rates, strict=True):
        step, left = lr * (beta1 * m + (1 - beta1) * g).sign(), 1 - lr * weight_decay
        p = p * left - step if decay_first else (p - step) * left
        m = beta2 * m + (1 - beta2) * g
    return p


def ends_right(end: Tensor, start: Tensor, gradients: Tensor, rates: list[float], weight_decay: float) -> bool:
    """Whether a Lion ends there. Whether it decays before or after its steps is judged by a check of its own."""
    ends = (led_to(start, gradients, rates, weight_decay, decay_first=first) for first in (True, False))
    return any(close(end, right, 2e-5) for right in ends)


TOGETHER = "together it does not work yet: {} Checks of single parts that fail say why"
