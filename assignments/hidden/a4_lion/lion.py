"""Is it a Lion? Steps that are those of a Lion with whatever mistake: signs of a mixture of gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from cs336lite.course.answers import close

DEFAULTS = (0.9, 0.99)
TINY = 1e-12  # a weight decay that changes no number
LR = 2.0**-5
STILL = (
    "the parameters do not move in the first steps: are they left out, or is p = p - ..., which makes a new tensor, in the "
    "place of a change in place?"
)
AGAIN = "the same steps do not lead to the same parameters: they depend on parameters, gradients and momentum alone"

Weights = tuple[float, float]  # of the momentum, and of the gradient


def weights(beta: float) -> list[Weights]:
    """How a beta may weigh: as it should, without its complement, and the wrong way round."""
    return [(beta, 1 - beta), (beta, 1.0), (1 - beta, beta)]


def momenta_of(gradients: Tensor, kept: float, taken: float, start: Tensor) -> Tensor:
    """The momentum at first and after each step, (steps + 1, n)."""
    found = [start]
    for g in gradients:
        found.append(kept * found[-1] + taken * g)
    return torch.stack(found)


def signs_of(steps: Tensor) -> Tensor:
    return torch.where(steps.abs() < 1e-7, 0.0, steps.sign())


def disagreement(steps: Tensor, direction: Tensor) -> float:
    """The share of steps that have not the sign of their direction, or of those that have it when these are fewer."""
    found = signs_of(steps)
    asked = torch.where(direction.abs() < 1e-12, 0.0, direction.sign())
    return min(int((found != asked).sum()), int((found != -asked).sum())) / found.numel()


def goes_like(steps: Tensor, direction: Tensor) -> bool:
    """Whether steps have the signs of these directions, or exactly the other signs; rounding may turn one in a thousand."""
    return disagreement(steps, direction) <= 1e-3


def even(steps: Tensor) -> bool:
    """Whether all parameters go equally far in each step."""
    return close(steps.abs(), steps.abs()[:, :1].expand_as(steps), 1e-6, 1e-3)


def mixes(steps: Tensor, m: Tensor, g: Tensor) -> bool:
    """Whether the signs of steps are those of momentum and gradient, weighed in any one way by other numbers than 0.

    So they are where all points (m, g), turned round where the step goes down, lie on one side of some line.
    """
    angles = torch.atan2(steps.sign() * g, steps.sign() * m)[1:].flatten().sort().values
    gaps = torch.cat([angles, angles[:1] + 2 * torch.pi]).diff()
    return bool((gaps > torch.pi).any()) and not goes_like(steps, g) and not goes_like(steps[1:], m[1:])


def grows_with(steps: Tensor, direction: Tensor) -> bool:
    """Whether in each step no parameter goes further than one with a larger direction."""
    order = direction.abs().argsort(dim=1)
    return bool((steps.abs().gather(1, order).diff(dim=1) > -1e-6).all())


def interpolates(steps: Tensor, g: Tensor, by: float, keeping: float) -> bool:
    """Whether steps come of a direction weighed by one beta, and a momentum by another, with whatever mistake in these."""
    zero = torch.zeros_like(g[0])
    momenta = [momenta_of(g, *w, zero) for w in weights(keeping)]
    momenta += [momenta_of(g, keeping, 1 - keeping, g[0]), momenta_of(g.sign(), keeping, 1 - keeping, zero)]
    corrections = 1 - keeping ** torch.arange(len(g) + 1).clamp_min(1).double().unsqueeze(1)
    momenta += [m / corrections for m in momenta]
    moments = [moment for m in momenta for moment in (m[:-1], m[1:])]  # before a step, and after it
    directions = (old * m + new * g for m in moments for old, new in weights(by))
    return any(goes_like(steps, direction) and grows_with(steps, direction) for direction in directions)


def follows_a_momentum(steps: Tensor, g: Tensor, betas: tuple[float, float]) -> bool:
    """Whether these steps are those of a Lion, with whatever mistake.

    Such a Lion may lack its sign, if it has its two betas: momenta by one alone are those of SGD and of Adam. If it has
    its sign, it needs to go only nearly where a Lion goes (the sign of the gradient alone is another way in one step of
    five), or where the momentum before the step goes.
    """
    if goes_like(steps, g):
        return False
    if any(interpolates(steps, g, *pair) for one in (betas, DEFAULTS) for pair in (one, one[::-1])):
        return True
    if not even(steps):
        return False
    zero = torch.zeros_like(g[0])
    near = (
        disagreement(steps, beta1 * momenta_of(g, beta2, 1 - beta2, zero)[:-1] + (1 - beta1) * g) < 0.14
        for beta1, beta2 in (betas, DEFAULTS)
    )
    kept = [w for beta in (*betas, *DEFAULTS) for w in weights(beta)]
    return any(near) or any(goes_like(steps, momenta_of(g, *w, zero)[:-1]) for w in kept)
