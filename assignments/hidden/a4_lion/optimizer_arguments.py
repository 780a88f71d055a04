"""What `optimizer` asks for as it is made: default values, and a ValueError for what cannot be."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from cs336lite.course.answers import ask, blame, close, like, list_of, same
from cs336lite.course.spec import check, expect, known_kind

from .asking import CLASS, numbers, ordinary, spread
from .lion import AGAIN, DEFAULTS, STILL, TINY
from .optimizer import run
from .signs import look


def drive_defaults(student, start, gradients, given):
    import torch

    p = torch.nn.Parameter(start.clone())
    lion = student.Lion([p], **given)
    for gradient in gradients:
        p.grad = gradient.clone()
        lion.step()
    return p.detach().clone()


@check("optimizer", points=1, title="the values that nobody gives", seconds=5)
def defaults_are_as_promised(student, rng):
    """One value is left out at a time, and compared with the same value given."""
    seen = look(student, rng, CLASS)
    start, gradients = ordinary(rng, 10, 100)
    start = start / 64
    p, defaults = like(start, dtype=None), {"lr": 1e-4, "betas": DEFAULTS, "weight_decay": seen.no_decay}
    for name in defaults:
        if defaults[name] == TINY:
            continue  # 0 is refused, which is judged below
        given = {**defaults, "lr": 0.01, name: defaults[name]}
        plain = ask(student, p, drive_defaults, start, list(gradients), given)
        expect(not close(plain, start, 1e-7), STILL)
        del given[name]
        message = f"Lion fails where {name} is not given: it has a default, see the head of __init__"
        with blame(message, lambda: None):
            found = ask(student, p, drive_defaults, start, list(gradients), given)
        expect(close(found, plain, 1e-6), DEFAULT_IS[name])


DEFAULT_IS = {
    "lr": "lr is not 1e-4 where it is not given",
    "betas": "betas are not (0.9, 0.99) where they are not given",
    "weight_decay": "weight_decay is not 0 where it is not given",
}


def drive_arguments(student, start, gradient, cases):
    import torch

    make, found = student.Lion, []
    for options in cases:
        p, kind, made = torch.nn.Parameter(start.clone()), "nothing", False
        try:
            lion = make([p], **options)
            made = True
            p.grad = gradient.clone()
            lion.step()
        except NotImplementedError:
            raise
        except Exception as error:
            kind = "ValueError" if isinstance(error, ValueError) else type(error).__name__
        found.append((kind, made, p.detach().clone()))
    return found


def with_arguments(student, rng: random.Random, asked: list[dict]) -> list[tuple[str, bool, Tensor]]:
    """What making a Lion with each of these arguments and a step of it raise, whether it was made, and where it leads.

    The first that is asked for is ordinary: no good and no bad argument says anything where this fails.
    """
    seen = look(student, rng, CLASS)
    start, gradient = numbers(rng, 9), spread(rng, 9)
    cases = [seen.options(lr=0.25, **one) if "lr" not in one else seen.options(**one) for one in [{}, *asked]]
    plain = run(student, [start], [[gradient]], cases[0])[-1][0]
    form = list_of([str, bool, like(start, dtype=None, finite=False)], len(cases))
    found = ask(student, form, drive_arguments, start, gradient, cases)
    (kind, _, first), *rest = found
    expect(kind == "nothing" and close(first, plain, 1e-6, 1e-6), AGAIN)
    return [(kind, made, p - start) for kind, made, p in rest]


def expect_refused(student, rng: random.Random, bad: list[tuple[dict, str]]) -> None:
    found = with_arguments(student, rng, [options for options, _ in bad])
    for (kind, made, _), (_, what) in zip(found, bad, strict=True):
        expect(kind != "nothing", f"{what} is accepted: raise a ValueError when the optimizer is made")
        expect(kind == "ValueError", f"{what} must raise a ValueError, and raises {known_kind(kind)}")
        expect(not made, f"{what} is refused by step, and not when the optimizer is made: look at it in __init__")


@check("optimizer", points=1, title="no learning rate below 0", seconds=5)
def bad_rates_are_refused(student, rng):
    expect_refused(student, rng, [({"lr": -rng.uniform(0.01, 1)}, "a learning rate below 0")])


@check("optimizer", points=1, title="no weight decay below 0", seconds=5)
def bad_decays_are_refused(student, rng):
    expect_refused(student, rng, [({"weight_decay": -rng.uniform(0.01, 1)}, "a weight decay below 0")])


@check("optimizer", points=1, title="no beta outside of 0 to 1", seconds=5)
def bad_betas_are_refused(student, rng):
    bad = [
        ({"betas": (0.5, 1.0)}, "beta2 = 1"),
        ({"betas": (1.0, 0.5)}, "beta1 = 1"),
        ({"betas": (-rng.uniform(0.01, 1), 0.5)}, "beta1 below 0"),
        ({"betas": (0.5, -rng.uniform(0.01, 1))}, "beta2 below 0"),
        ({"betas": (rng.uniform(1.01, 2), 0.5)}, "beta1 above 1"),
        ({"betas": (0.5, rng.uniform(1.01, 2))}, "beta2 above 1"),
    ]
    expect_refused(student, rng, bad)


@check("optimizer", points=1, title="0 is allowed for each", seconds=5)
def zero_is_allowed(student, rng):
    good = [
        ({"lr": 0.0}, "a learning rate of 0"),
        ({"weight_decay": 0.0}, "a weight decay of 0"),
        ({"betas": (0.0, 0.5)}, "beta1 = 0"),
        ({"betas": (0.5, 0.0)}, "beta2 = 0"),
    ]
    found = with_arguments(student, rng, [options for options, _ in good])
    for (kind, _, _), (_, what) in zip(found, good, strict=True):
        expect(kind == "nothing", f"{what} is allowed, and makes an error here")
    (_, _, moved), *_ = found
    expect(
        same(moved, torch.zeros_like(moved)), "with a learning rate of 0 parameters move: they must stay as they are"
    )


def drive_non_leaf(student, start, options):
    import torch

    student.Lion([torch.nn.Parameter(start.clone())], **options)
    try:
        student.Lion([torch.nn.Parameter(start.clone()) * 2], **options)
    except Exception:
        return True
    return False


@check("optimizer", points=1, title="what was computed is no parameter", seconds=5)
def non_leaves_are_refused(student, rng):
    seen = look(student, rng, CLASS)
    refused = ask(student, bool, drive_non_leaf, numbers(rng, 9), seen.options())
    message = "a tensor that was computed is accepted as a parameter: torch.optim.Optimizer.__init__ refuses it"
    expect(refused is True, message)


def drive_sparse(student, start, gradient, place, options, split):
    import torch

    params = [torch.nn.Parameter(start.clone()) for _ in range(2)]
    lion = student.Lion([{"params": [p]} for p in params] if split else params, **options)
    for p in params:
        p.grad = gradient.clone()
    lion.step()
    before = [p.detach().clone() for p in params]
    params[1].grad = torch.sparse_coo_tensor([[place]], [1.0], start.shape, check_invariants=True)
    raised = said = False
    try:
        lion.step()
    except Exception as error:
        raised, said = True, "sparse" in str(error).lower()
    return before, raised, said, [p.detach().clone() for p in params]


@check("optimizer", points=1, title="a sparse gradient is refused", seconds=5)
def sparse_gradients_are_refused(student, rng):
    seen = look(student, rng, CLASS)
    start, gradient, options = numbers(rng, 9), spread(rng, 9), seen.options(lr=0.25, weight_decay=0.1)
    plain = run(student, [start], [[gradient]], options)[-1][0]
    two = [like(start, dtype=None, finite=False)] * 2
    form = [two, bool, bool, two]
    for split, where in ((False, "of the same group"), (True, "of an earlier group")):
        before, raised, said, after = ask(
            student, form, drive_sparse, start, gradient, rng.randrange(9), options, split
        )
        expect(close(before[0], plain, 1e-6, 1e-6), AGAIN)
        message = (
            "a sparse gradient is accepted, though the momentum moves all of the parameter: raise an error that says so"
        )
        expect(raised is True, message)
        expect(said is True, "a sparse gradient raises an error without the word sparse: say what is wrong")
        message = f"step raises for a sparse gradient when parameters {where} have changed already: look at all gradients first"
        expect(all(same(new, old) for new, old in zip(after, before, strict=True)), message)
