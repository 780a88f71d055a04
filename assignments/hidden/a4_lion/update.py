"""What `update` asks for: the momentum, the decay, their order, and a change in place."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from cs336lite.course.answers import ask, close, either, like, same
from cs336lite.course.spec import Fail, check, expect

from .asking import CLASS, TOGETHER, UPDATE, ends_right, numbers, ordinary, spread, walk
from .lion import AGAIN, DEFAULTS, STILL
from .signs import Look, expect_interpolated, expect_no_loss, expect_not_swapped, look

UPDATES = (CLASS, UPDATE)


@check("update", points=4, title="beta2 weighs the momentum", seconds=5)
def beta2_weighs_the_momentum(student, rng):
    seen = look(student, rng, *UPDATES)
    if seen.momentum_is_right and not seen.forgotten:
        return
    expect_interpolated(seen)
    expect_not_swapped(seen)
    messages = {
        "fixed": "beta2 as it is given has no effect: the momentum is weighed by 0.99, whatever the betas of the group are",
        "beta1": "beta1 weighs the momentum too: it is beta2 * momentum + (1 - beta2) * gradient",
        "no complement": "in the momentum the gradient lacks its weight 1 - beta2",
        "exchanged": "in the momentum beta2 weighs the gradient: it weighs the old momentum, 1 - beta2 the gradient",
        "corrected": "the momentum is corrected for its bias as in Adam: Lion takes it as it is",
        "sign": "the momentum collects the signs of gradients: it collects the gradients",
        "first gradient": "the momentum begins with the first gradient: it begins at 0",
        "ones": "the momentum begins at 1: it begins at 0",
        "parameter": "the momentum begins as a copy of the parameter: it begins at 0, torch.zeros_like(p)",
        "never decays": "the old momentum lacks its weight beta2, so it never fades",
        "all gradients": "the momentum is the sum of all gradients: it is beta2 * momentum + (1 - beta2) * gradient",
        "shared memory": (
            "the direction is computed in the momentum's own memory, which it spoils: update = momentum is no copy, "
            "and mul_ and add_ then change both"
        ),
    }
    for momentum, message in messages.items():
        expect(not any(kind[1] == momentum for kind in seen.kinds), message)
    raise Fail("the momentum does not become beta2 * momentum + (1 - beta2) * gradient")


@check("update", points=3, title="the momentum changes after the direction is taken", seconds=5)
def momentum_comes_last(student, rng):
    seen = look(student, rng, *UPDATES)
    if seen.is_whole and seen.order_is_right:
        return
    expect_interpolated(seen)
    message = "the momentum is updated before the direction is taken: the newest gradient then counts twice"
    expect(not any(kind[2] == "momentum first" for kind in seen.kinds), message)
    expect(not seen.by_its_own[1], message)
    message = (
        "the direction is beta1 * momentum + (1 - beta1) * gradient with neither the old momentum nor the new one: "
        "until it is, the order cannot be judged"
    )
    raise Fail(message)


@check("update", points=3, title="parameters decay by lr * weight_decay", seconds=5)
def parameters_decay(student, rng):
    seen = look(student, rng, *UPDATES)
    message = "parameters shrink by lr, also where weight_decay is 0: the factor is 1 - lr * weight_decay"
    expect(not seen.shrinks, message)
    start, gradient = numbers(rng, 40), spread(rng, 40)
    gradient[:20] = 0.0  # where neither gradient nor momentum is, only the decay is left
    lr, weight_decay = round(rng.uniform(0.1, 0.2), 3), round(rng.uniform(0.2, 0.6), 3)
    without, decayed = (
        walk(student, seen.via, start, [gradient] * 2, seen.options(lr=lr, weight_decay=wd)).path
        for wd in (seen.no_decay, weight_decay)
    )
    expect(not close(without[-1][20:], start[20:], 1e-7), STILL)
    without, decayed, start = without[1], decayed[1], start.double()
    # what the decay alone has done, whatever is made of a gradient of 0
    left = 1 + (decayed - without)[:20] / start[:20]
    candidates = {
        "": 1 - lr * weight_decay,
        "weight_decay has no effect on a vector of parameters": 1.0,
        "lr is missing: parameters shrink by lr * weight_decay, not by weight_decay": 1 - weight_decay,
        "the decay has the wrong sign: parameters grow": 1 + lr * weight_decay,
        "lr comes in twice: parameters shrink by lr * weight_decay": 1 - lr * lr * weight_decay,
        "weight_decay comes in twice: has decay been applied two times?": (1 - lr * weight_decay) ** 2,
        "parameters shrink by lr: the factor is 1 - lr * weight_decay": 1 - lr,
        "parameters are left with lr * weight_decay: the factor is 1 - lr * weight_decay": lr * weight_decay,
    }
    after = 1 - lr * weight_decay * (without / start)[:20]  # the decay of what the step has left
    if close(left, torch.full_like(left, candidates[""]), 2e-4) or close(left, after, 2e-4):
        return
    everywhere = close(decayed, without, 1e-7)
    message = "weight_decay has no effect where gradient and momentum are 0: every parameter decays"
    expect(everywhere or not close(left, torch.ones_like(left), 2e-4), message)
    for message, factor in candidates.items():
        expect(not message or not close(left, torch.full_like(left, factor), 2e-4), message)
    lost = (decayed - without)[:20].abs()
    message = (
        "decay takes the same from every parameter, whatever its size: multiply it by 1 - lr * weight_decay; where decay is "
        "put into the gradient, only its sign is left"
    )
    expect(not close(lost, lost[:1].expand(20), 1e-4), message)
    raise Fail("where gradient and momentum are 0, a parameter must be multiplied by 1 - lr * weight_decay, no more")


@check("update", points=2, title="decay has no say in the direction", seconds=5)
def decay_is_decoupled(student, rng):
    seen = look(student, rng, *UPDATES)
    # Gradients so small that decay would outweigh them in a sum, and a decay that is small beside a step.
    start, gradients = numbers(rng, 60), spread(rng, 6, 60) * 1e-4
    found = []
    for weight_decay in (seen.no_decay, round(rng.uniform(0.01, 0.015), 4)):
        found.append(walk(student, seen.via, start, gradients, seen.options(lr=0.25, weight_decay=weight_decay)))
        expect(not found[-1].still, STILL)
    plain, shrunk = found
    without, decayed = plain.steps, shrunk.steps
    share = (shrunk.path - plain.path)[1] / start
    if close(share, share[:1].expand(60), 1e-3):  # parameters shrink, by whatever factor
        if share.mean().abs() > 0.5:
            return  # and far too much, which is judged for itself: of the steps nothing is left to be seen
        decayed = decayed - share.mean() * shrunk.path[:-1]
    sizes = without.abs()
    large = sizes > 0.4 * sizes.max()
    alike = 2 * int(large.sum()) > large.numel()
    expect(alike or bool((sizes > 0.1).any()), "steps are far smaller than lr: the sign of the direction is missing")
    turned = large & (without * decayed <= 0)
    few = len(start) // 50  # a momentum that decays by itself turns one or two in all
    message = "weight decay turns steps round: it is added to the gradient, and has to shrink the parameter alone"
    expect(int(turned[0].sum()) <= few, message)
    message = "weight decay gets into the momentum, and turns later steps round: it has to shrink the parameter alone"
    expect(int(turned.sum()) <= 6 * few, message)


@check("update", points=3, title="decay comes before the step", seconds=5)
def decay_comes_first(student, rng):
    seen = look(student, rng, *UPDATES)
    if seen.shrinks:
        return  # its steps have the size lr, so the factor does not come after them
    start, gradient = numbers(rng, 40), spread(rng, 40)
    without, decayed = (
        walk(student, seen.via, start, [gradient] * 2, seen.options(lr=0.25, weight_decay=wd)).path
        for wd in (seen.no_decay, 0.5)
    )
    expect(not close(without[-1], start, 1e-7), STILL)
    moving = 1 if not close(without[1], start, 1e-7) else 2  # the first step that goes somewhere
    lost = without[moving] - decayed[moving]
    expect(not close(lost, torch.zeros(40), 1e-6), "weight_decay has no effect on a vector of parameters")
    share = lost / start
    if close(share, share[:1].expand(40), 1e-3):
        return
    share = lost / without[moving]
    message = "decay comes after the step, so it shrinks the step too: first p (1 - lr wd), then the step"
    expect(not close(share, share[:1].expand(40), 1e-3), message)
    raise Fail("what decay takes away must be the same share of every parameter as it was before the step")


def drive_in_place(student, start, gradients, options):
    import torch

    p = torch.nn.Parameter(start.clone())
    other = p.detach()  # the same memory under another name
    lion = student.Lion([p], **options)
    for gradient in gradients:
        p.grad = gradient.clone()
        lion.step()
    return p.detach().clone(), other.clone(), None if p.grad is None else p.grad.clone()


def drive_update_in_place(student, start, gradients, options):
    import torch

    p, momentum = start.clone(), torch.zeros_like(start)
    other = p.detach()
    with torch.no_grad():
        for gradient in gradients:
            given = gradient.clone()
            student.lion_update_(p, given, momentum, options["lr"], options["betas"], options["weight_decay"])
    return p, other, given.clone()


def stepped(student, seen: Look, rng: random.Random, *shape: int) -> tuple[Tensor, Tensor, bool]:
    """After two steps: a parameter, what else holds its memory, and whether the gradient is as it was."""
    start, gradients = numbers(rng, *shape), [spread(rng, *shape) for _ in range(2)]
    options, p = seen.options(weight_decay=0.1), like(start, dtype=None, finite=False)
    driver = drive_in_place if seen.via == CLASS else drive_update_in_place
    p, other, given = ask(student, [p, p, either(p, type(None))], driver, start, gradients, options)
    expect(close(p, walk(student, seen.via, start, gradients, options).path[-1], 1e-6, 1e-6), AGAIN)
    return p, other, given is not None and same(given, gradients[-1])


@check("update", points=2, title="parameters change in place", seconds=5)
def parameters_change_in_place(student, rng):
    seen = look(student, rng, *UPDATES)
    expect(not seen.still, STILL)
    message = (
        "the parameter gets new memory in each step: what else holds it does not see the change; use mul_ and add_"
    )
    for shape in ((40,), (5, 3)):
        p, other, _ = stepped(student, seen, rng, *shape)
        expect(same(other, p), message)


@check("update", points=1, title="gradients stay as they are", seconds=5)
def gradients_stay(student, rng):
    seen = look(student, rng, *UPDATES)
    _, _, unchanged = stepped(student, seen, rng, 40)
    expect(unchanged, "step changes the gradient, or takes it away: it may be needed again, and is only read")


@check("update", points=12, title="together: ten updates with decay", seconds=5)
def ten_updates(student, rng):
    seen = look(student, rng, *UPDATES)
    start, gradients = ordinary(rng, 10, 400)
    lr, weight_decay = 0.01, 0.1
    options = seen.options(lr=lr, betas=DEFAULTS, weight_decay=weight_decay)
    found = walk(student, seen.via, start, gradients, options)
    expect_no_loss(seen)
    right = ends_right(found.path[-1], start, gradients, [lr] * 10, weight_decay)
    expect(right, TOGETHER.format("ten steps with decay do not lead where Lion goes."))
