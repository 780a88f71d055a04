"""What `direction` asks for: the sign of the weighted sum, and steps of the size lr against it."""

from __future__ import annotations

import torch

from cs336lite.course.answers import close
from cs336lite.course.spec import Fail, check, expect

from .asking import CLASS, DIRECTION, TOGETHER, UPDATE, numbers, ordinary, spread
from .lion import DEFAULTS, STILL
from .signs import ELSEWHERE, KINDS, expect_interpolated, expect_no_loss, expect_not_swapped, look, signs

ANY_WAY = (CLASS, UPDATE, DIRECTION)


@check("direction", points=3, title="steps go down", seconds=5)
def steps_go_down(student, rng):
    seen = look(student, rng, *ANY_WAY)
    start, gradient = numbers(rng, 40), spread(rng, 40)
    found = seen.walk(student, start, [gradient] * 2, seen.options())
    expect(not found.still, STILL)
    if seen.mixes and not seen.kinds:
        return  # the weights are wrong, which is judged next, and with them the way of a step
    if any(kind[1] in ELSEWHERE for kind in seen.kinds):
        return  # told in exercise 2: the first steps go by what the momentum begins with
    way = (found.path[-1] - found.path[0]).sign()
    expect(not bool((way == gradient.sign()).all()), "parameters climb: the step is subtracted")
    expect(bool((way == -gradient.sign()).all()), "the first steps must go against the gradient everywhere")


@check("direction", points=4, title="beta1 weighs momentum and gradient", seconds=5)
def beta1_weighs_the_direction(student, rng):
    seen = look(student, rng, *ANY_WAY)
    if seen.is_whole and seen.direction_is_right:
        return
    expect_interpolated(seen)
    expect_not_swapped(seen)
    messages = {
        "fixed": "beta1 as it is given has no effect: the direction is weighed by 0.9, whatever the betas of the group are",
        "beta2": "the direction is weighed by beta2, like the new momentum: it is beta1 * momentum + (1 - beta1) * gradient",
        "no complement": "in the direction the gradient lacks its weight 1 - beta1",
        "exchanged": "in the direction beta1 weighs the gradient: it weighs the momentum, and 1 - beta1 the gradient",
    }
    for direction, message in messages.items():
        expect(not any(kind[0] == direction for kind in seen.kinds), message)
    raise Fail("the direction is not the sign of beta1 * momentum + (1 - beta1) * gradient")


@check("direction", points=3, title="every step has the size lr", seconds=5)
def steps_have_the_size_lr(student, rng):
    seen = look(student, rng, *ANY_WAY)
    start, lr = numbers(rng, 40), rng.choice([2.0**-4, 2.0**-6])
    gradients = [spread(rng, 40) * scale for scale in (1e-12, 1.0, 1e12)]
    found = seen.walk(student, start, gradients, seen.options(lr=lr))
    expect(not found.still, STILL)
    sizes = found.steps.abs()
    if close(sizes, torch.full_like(sizes, lr), 1e-3 * lr):
        return
    middle = sizes[1]
    expect(
        close(middle, middle[:1].expand_as(middle), 1e-3 * lr), "steps are of different sizes: take the sign, -1 or 1"
    )
    if (
        seen.kinds
        and all(kind[0] == "momentum" for kind in seen.kinds)
        and close(sizes[1:], sizes[1:] * 0 + lr, 1e-3 * lr)
    ):
        return  # there is no momentum yet in the first step
    expect(close(middle, torch.full_like(middle, lr), 1e-3 * lr), "steps are alike, and their size is not lr")
    raise Fail("where gradients are very small or very large, the size of a step is not lr: take the sign, -1 or 1")


@check("direction", points=2, title="the sign of 0 is 0", seconds=5)
def the_sign_of_zero_is_zero(student, rng):
    seen = look(student, rng, *ANY_WAY)
    start, gradient = numbers(rng, 40), spread(rng, 40)
    idle = torch.tensor([rng.random() < 0.4 for _ in range(40)])
    idle[:2] = torch.tensor([True, False])
    row = torch.where(idle, 0.0, gradient)
    found = seen.walk(student, start, [row, row], seen.options())
    expect(not close(found.path[-1][~idle], start[~idle], 1e-7), STILL)
    message = "where all gradients were 0 the parameter moves: the momentum begins at 0 and stays there, and the sign of 0 is 0"
    expect(close(found.path[-1][idle], start[idle], 1e-9), message)


@check("direction", points=8, title="together: ten steps along the direction", seconds=5)
def ten_directions(student, rng):
    """Each along the momentum that is kept, whatever is wrong with that: this is judged by exercise 2."""
    seen = look(student, rng, *ANY_WAY)
    start, gradients = ordinary(rng, 10, 400)
    lr, beta1 = 2.0**-7, DEFAULTS[0]
    found = seen.walk(student, start, gradients, seen.options(lr=lr, betas=DEFAULTS))
    g = found.gradients
    expect_no_loss(seen)
    ways = [signs(g, DEFAULTS, kind, start) for kind in KINDS if kind[0] == "right"]
    for kept in found.kept:
        ways += [beta1 * moment + (1 - beta1) * g for moment in (kept[:-1], kept[1:]) if bool(kept.any())]
    right = any(bool(((-lr * way.sign() - found.steps).abs() < 1e-3 * lr).double().mean() > 0.999) for way in ways)
    expect(
        right,
        TOGETHER.format("ten steps do not all go by lr against the sign of beta1 * momentum + (1 - beta1) * gradient."),
    )
