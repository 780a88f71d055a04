"""What `optimizer` asks for: steps of several parameters, in groups, and a training.

Runs of one solution are compared with each other, so its rule need not be quite right.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from cs336lite.course.answers import anything, ask, blame, close, like, list_of
from cs336lite.course.spec import check, drawn, expect

from .asking import CLASS, TOGETHER, ends_right, expect_a_parameter, numbers, ordinary, some_betas, spread
from .lion import DEFAULTS, STILL
from .signs import expect_no_loss, look, signs


def drive_steps(student, starts, groups, gradients, options, changes):
    """All parameters after each step. A group is (the places of its parameters, its own options)."""
    import torch

    params = [torch.nn.Parameter(start.clone()) for start in starts]
    if groups:
        lion = student.Lion([{"params": [params[i] for i in places], **own} for places, own in groups], **options)
    else:
        lion = student.Lion(params, **options)
    seen = []
    for step, row in enumerate(gradients):
        for p, gradient in zip(params, row, strict=True):
            p.grad = None if gradient is None else gradient.clone()
        for group, name, value in changes.get(step, []):
            lion.param_groups[group][name] = value
        lion.step()
        seen.append([p.detach().clone() for p in params])
    return seen


def run(student, starts, gradients, options, groups=(), changes=None) -> list[list[Tensor]]:
    """The parameters of a solution at first and after each step."""
    form = list_of(list_of(anything, len(starts)), len(gradients))
    seen = ask(student, form, drive_steps, starts, list(groups), gradients, options, changes or {})
    for row in seen:
        for p, start in zip(row, starts, strict=True):
            expect_a_parameter(p, start)
    return [list(starts), *seen]


def as_one(seen: list[list[Tensor]], place: int) -> Tensor:
    """The path of one parameter."""
    return torch.stack([row[place] for row in seen])


def expect_changed(p: Tensor, start: Tensor) -> None:
    expect_a_parameter(p, start)
    expect(not close(p, start, 1e-7), STILL)


def expect_moved(seen: list[list[Tensor]]) -> None:
    expect_changed(seen[-1][0], seen[0][0])


def expect_all_move(seen: list[list[Tensor]], what: str = "groups") -> None:
    """One parameter in each of the groups, or several in one."""
    moves = [not close(end, start, 1e-7) for end, start in zip(seen[-1], seen[0], strict=True)]
    expect(any(moves[1:]) or not moves[0], f"only the first of the {what} moves: go through all of them in each step")
    expect(all(moves), f"some {what} do not move: go through all of them in each step")


SHARED = "{} share a momentum: each parameter has its own, in self.state[p]"


@drawn
def far_apart(rng) -> tuple[list[Tensor], list[list[Tensor]], tuple[float, float]]:
    """Three parameters of one shape, and gradients with which each goes another way than with the momentum of another.

    The signs of every two differ already in a step in which both have the same gradient.
    """
    while True:
        betas = some_betas(rng)
        rows = [[spread(rng, 24) for _ in range(3)] for _ in range(5)]
        last = spread(rng, 24) * 0.3
        rows += [[last] * 3]
        paths = [
            signs(torch.stack([row[i] for row in rows]), betas, ("right",) * 3, torch.zeros(()))[-1] for i in range(3)
        ]
        if all(not torch.equal(a, b) for a, b in itertools.combinations(paths, 2)):
            return [numbers(rng, 24) for _ in range(3)], rows, betas


@check("optimizer", points=2, title="every parameter takes its step, by its own momentum", seconds=5)
def momenta_are_not_shared(student, rng):
    seen = look(student, rng, CLASS)
    starts, rows, betas = far_apart(rng)
    options = seen.options(betas=betas)
    alone = [run(student, [starts[i]], [[row[i]] for row in rows], options) for i in range(3)]
    expect_moved(alone[0])
    for groups, what in [([([0, 1, 2], {})], "parameters of a group"), ([([i], {}) for i in range(3)], "groups")]:
        together = run(student, starts, rows, options, groups)
        paths = [as_one(together, i) for i in range(3)]
        expect_all_move(together, what)
        expect(all(close(path, as_one(alone[i], 0), 1e-4) for i, path in enumerate(paths)), SHARED.format(what))
    last = [(one[-1][0] - one[-2][0]).sign() for one in alone]
    message = "the momentum makes no difference to the steps, though the gradients before were different"
    expect(not all(torch.equal(last[0], one) for one in last), message)


@check("optimizer", points=2, title="every group goes by its own values", seconds=5)
def groups_have_their_own_values(student, rng):
    seen = look(student, rng, CLASS)
    starts, rows, betas = far_apart(rng)
    own = [
        {},
        {"lr": 2.0**-4, "weight_decay": round(rng.uniform(0.5, 0.9), 3)},
        {"betas": (round(rng.uniform(0.1, 0.3), 3), round(rng.uniform(0.3, 0.5), 3))},
    ]
    options = seen.options(betas=betas, weight_decay=0.25)
    plain, together = (
        run(student, starts, rows, options, [([i], one) for i, one in enumerate(values)]) for values in ([{}] * 3, own)
    )
    expect_moved(together)
    expect_all_move(plain)
    for i in range(3):  # else nothing can be said of values
        alone = run(student, [starts[i]], [[row[i]] for row in rows], options)
        message = "groups with the same values do not go as each of them goes alone"
        expect(close(as_one(plain, i), as_one(alone, 0), 1e-4), message)
    for i, one in enumerate(own):
        alone = run(student, [starts[i]], [[row[i]] for row in rows], {**options, **one})
        names = " and ".join(one) or "values"
        message = f"a group with {names} of its own does not go by them: read lr, betas and weight_decay from the group"
        expect(close(as_one(together, i), as_one(alone, 0), 1e-4), message)


CHANGED = {"lr": 2.0**-3, "weight_decay": 2.0, "betas": (0.05, 0.1)}


@check("optimizer", points=2, title="values of a group may change between steps", seconds=5)
def changed_values_are_followed(student, rng):
    """As a scheduler does, after the second step, in the second of two groups."""
    seen = look(student, rng, CLASS)
    starts, rows, betas = far_apart(rng)
    options, groups = seen.options(betas=betas, weight_decay=0.25), [([0], {}), ([1], {})]
    starts, rows = starts[:2], [row[:2] for row in rows]
    plain = run(student, starts, rows, options, groups)
    expect_moved(plain)
    expect_all_move(plain)
    for name, value in CHANGED.items():
        if name == "betas" and all(kind[0] in ("fixed", "gradient") for kind in seen.kinds):
            continue  # what betas do is judged by exercises 1 and 2
        alone = run(student, starts[1:], [row[1:] for row in rows], {**options, name: value})
        shown = 2 if name == "weight_decay" else None  # a decay of parameters shows in the first step
        if close(as_one(alone, 0)[:shown], as_one(plain, 1)[:shown], 1e-6):
            continue  # it has no effect from the start, which is another mistake
        changed = run(student, starts, rows, options, groups, {2: [(1, name, value)]})
        message = (
            f"{name} of a group is changed between steps, and nothing follows: read it from the group in every step"
        )
        same_before = close(as_one(changed, 1)[:3], as_one(plain, 1)[:3], 1e-6)
        expect(same_before and not close(as_one(changed, 1), as_one(plain, 1), 1e-6), message)
        message = f"{name} of one group changes between steps, and another group then goes another way too"
        expect(close(as_one(changed, 0), as_one(plain, 0), 1e-6), message)


@check("optimizer", points=2, title="a parameter without a gradient is left alone", seconds=5)
def missing_gradients_are_skipped(student, rng):
    seen = look(student, rng, CLASS)
    starts, rows, betas = far_apart(rng)
    options = seen.options(betas=betas, weight_decay=0.5)
    full = run(student, starts[:2], [row[:2] for row in rows], options)
    expect_moved(full)
    for first in (0, 2):  # without a gradient from the start, and after two steps with one
        given = [[row[0] if i < first else None, row[1]] for i, row in enumerate(rows)]
        with blame("a parameter whose gradient is None makes step fail: skip it", lambda: None):
            found = run(student, starts[:2], given, options)
        path = as_one(found, 0)[first:]
        forgotten = close(found[-1][1], starts[1], 1e-7) and not close(full[-1][1], starts[1], 1e-7)
        expect(not forgotten, "the parameters after one without a gradient are forgotten: go on with the next")
        decay = bool((path[1].abs() <= path[0].abs()).all())
        expect(not decay or torch.equal(path[1], path[0]), "a parameter whose gradient is None decays: leave it alone")
        expect(torch.equal(path, path[:1].expand_as(path)), "a parameter whose gradient is None moves: leave it alone")


def drive_training(student, starts, gradients, rates, decays, options):
    """A training loop: two groups, of which one does not decay, a rate that changes, and gradients by backward."""
    import torch

    params = [torch.nn.Parameter(start.clone()) for start in starts]
    groups = [
        {"params": params[:2], "weight_decay": decays[0]},
        {"params": params[2:], "weight_decay": decays[1]},
    ]
    lion = student.Lion(groups, **options)
    for rate, row in zip(rates, gradients, strict=True):
        for group in lion.param_groups:
            group["lr"] = rate
        lion.zero_grad()
        sum((p * g).sum() for p, g in zip(params, row, strict=True)).backward()
        lion.step()
    return [p.detach().clone() for p in params]


@check("optimizer", points=12, title="together: a short training", seconds=5)
def a_training_loop(student, rng):
    seen = look(student, rng, CLASS)
    expect_no_loss(seen)
    start, gradients = ordinary(rng, 20, 600)
    cut = [200, 200, 200]
    starts, rows = list(start.split(cut)), [list(row.split(cut)) for row in gradients]
    rates = [0.001 * min(step + 1, 20 - step) for step in range(20)]  # up, and down again
    decays = [0.1, seen.no_decay]
    options = seen.options(lr=0.01, betas=DEFAULTS)
    found = ask(student, [like(p) for p in starts], drive_training, starts, rows, rates, decays, options)
    parts = zip(found, starts, gradients.split(cut, dim=1), [decays[0], *decays], strict=True)
    right = [ends_right(p, one, g, rates, weight_decay) for p, one, g, weight_decay in parts]
    message = "twenty steps of three parameters in two groups, with a rate that changes, do not lead where Lion goes."
    expect(all(right), TOGETHER.format(message))
