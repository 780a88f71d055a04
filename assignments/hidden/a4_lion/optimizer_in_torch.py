"""What `optimizer` asks for as any optimizer of torch: closures, checkpoints, dtypes, layouts and autograd.

Runs of one solution are compared with each other, so its rule need not be quite right.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor

from cs336lite.course.answers import anything, ask, blame, close, like, list_of
from cs336lite.course.spec import check, expect

from .asking import CLASS, numbers, spread
from .lion import AGAIN
from .optimizer import as_one, expect_changed, expect_moved, far_apart, run
from .signs import look


def drive_closure(student, start, gradients, options, values, callers):
    import torch

    p = torch.nn.Parameter(start.clone())
    p.grad = gradients[0].clone()  # a step before the closure would be seen
    lion = student.Lion([p], **options)
    seen = []
    for gradient, value, enabled in zip(gradients, values, callers, strict=True):
        calls = []

        def closure(gradient=gradient, value=value, calls=calls):
            calls.append((torch.is_grad_enabled(), p.detach().clone()))
            p.grad = gradient.clone()
            return value

        with torch.set_grad_enabled(enabled):
            answer = lion.step(closure)
        seen.append((answer, calls, p.detach().clone()))
    return seen, lion.step()


def closures(student, rng: random.Random, callers: list[bool]) -> tuple[Tensor, list, object]:
    """The path without closures, what was seen of a step with one, and the answer of a step without.

    ``callers``: whether gradients are enabled where step is called, by step.
    """
    seen = look(student, rng, CLASS)
    start, gradients = numbers(rng, 20), list(spread(rng, len(callers), 20))
    values, options = [round(rng.uniform(1, 9), 4) for _ in callers], seen.options(lr=0.25)
    path = as_one(run(student, [start], [[gradient] for gradient in gradients], options), 0)
    p = like(start, dtype=None, finite=False)
    form = [list_of([anything, list_of([bool, p], least=0, most=100), p], len(callers)), anything]
    message = "step does not accept a closure, or calls it with arguments: step(closure=None), and in it closure()"
    with blame({"TypeError": message}, lambda: None):
        found, nothing = ask(student, form, drive_closure, start, gradients, options, values, callers)
    return path, [(value, *one) for value, one in zip(values, found, strict=True)], nothing


WITHOUT_GRADIENTS = "the closure runs without gradients: call it in torch.enable_grad()"


@check("optimizer", points=2, title="step runs its closure", seconds=5)
def step_runs_its_closure(student, rng):
    path, found, nothing = closures(student, rng, [True] * 3)
    for step, (value, answer, calls, after) in enumerate(found):
        expect(len(calls) > 0, "step does not call its closure")
        expect(len(calls) == 1, "step calls its closure more than once")
        enabled, before = calls[0]
        message = "the closure is called after the update: it computes the gradients, so it comes first"
        expect(close(before, path[step], 1e-6, 1e-6), message)
        expect(enabled is True, WITHOUT_GRADIENTS)
        message = "a step with a closure does not go by the gradients of the closure"
        expect(close(after, path[step + 1], 1e-6, 1e-6), message)
        expect(is_number(answer, value), "step must return what its closure returns")
    expect(nothing is None, "without a closure step must return None")


@check("optimizer", points=1, title="a closure has gradients, also where the caller has none", seconds=5)
def closures_have_gradients(student, rng):
    _, found, _ = closures(student, rng, [False])
    for _, _, calls, _ in found:
        expect(len(calls) > 0, "step does not call its closure")
        expect(all(enabled for enabled, _ in calls), f"where step is called in torch.no_grad(), {WITHOUT_GRADIENTS}")


def is_number(answer, value: float) -> bool:
    one = isinstance(answer, (int, float)) or (isinstance(answer, Tensor) and answer.numel() == 1)
    return one and float(answer) == value


def drive_resumed(student, starts, gradients, cut, options):
    import torch

    copies = {}

    def copied(value):  # as a file keeps it: numbers without a history, and what is one stays one
        if isinstance(value, dict):
            return {key: copied(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(map(copied, value))
        if isinstance(value, torch.Tensor):
            return copies.setdefault(id(value), value.detach().clone())
        return value

    def steps(lion, params, rows):
        for row in rows:
            for p, gradient in zip(params, row, strict=True):
                p.grad = gradient.clone()
            lion.step()
        return [p.detach().clone() for p in params]

    def begin(values):
        params = [torch.nn.Parameter(value.clone()) for value in values]
        return student.Lion(params, **options), params

    lion, params = begin(starts)
    middle = steps(lion, params, gradients[:cut])
    saved = copied(lion.state_dict())
    answers = [steps(lion, params, gradients[cut:])]
    for load in (True, False):
        lion, params = begin(middle)
        if load:
            lion.load_state_dict(saved)
        answers.append(steps(lion, params, gradients[cut:]))
    return answers


@check("optimizer", points=2, title="a checkpoint holds the momenta", seconds=5)
def checkpoints_hold_the_momenta(student, rng):
    seen = look(student, rng, CLASS)
    starts, rows, betas = far_apart(rng)
    options = seen.options(betas=betas)
    path = run(student, starts, rows, options)
    expect_moved(path)
    form = [[like(start, dtype=None, finite=False) for start in starts]] * 3
    message = (
        "state_dict, load_state_dict or the next step after them fails, and steps without them do not: "
        "all that step needs has to be in self.state[p] and self.param_groups"
    )
    with blame(message, lambda: None):
        straight, resumed, fresh = ask(student, form, drive_resumed, starts, rows, 5, options)
    expect(all(close(a, b, 1e-6, 1e-6) for a, b in zip(straight, path[-1], strict=True)), AGAIN)
    differ = any(not close(a, b, 1e-6) for a, b in zip(straight, fresh, strict=True))
    expect(differ, "the momentum makes no difference to the steps, though there were steps before")
    again = all(close(a, b, 1e-6) for a, b in zip(straight, resumed, strict=True))
    message = "after load_state_dict steps go another way: state_dict lacks the momenta; keep them in self.state[p]"
    expect(again, message)


def drive_kinds(student, start, gradient, options):
    import torch

    found = []
    for dtype in (torch.bfloat16, torch.float64, torch.float32):
        p = torch.nn.Parameter(start.to(dtype))
        lion = student.Lion([p], **options)
        for _ in range(2):
            p.grad = gradient.to(dtype) / 3  # the same signs, and in float64 numbers that float32 does not have
            lion.step()
        kept = [v.detach() for v in lion.state[p].values() if isinstance(v, torch.Tensor) and v.shape == p.shape]
        found.append((p.detach().clone(), kept))
    return found


@check("optimizer", points=1, title="parameters and momenta keep their dtype", seconds=5)
def dtypes_are_kept(student, rng):
    seen = look(student, rng, CLASS)
    start, gradient, options = numbers(rng, 20), spread(rng, 20), seen.options(lr=0.25)
    plain = run(student, [start], [[gradient / 3]] * 2, options)[-1][0]
    p = like(start, dtype=None, finite=False)
    form = list_of([p, list_of(anything, least=0, most=20)], 3)
    with blame(
        "parameters of another dtype than float32 make step fail: models are trained in bfloat16 too", lambda: None
    ):
        found = ask(student, form, drive_kinds, start, gradient, options)
    for dtype, (p, kept) in zip((torch.bfloat16, torch.float64, torch.float32), found, strict=True):
        expect_changed(p, start)
        expect(p.dtype == dtype, "the dtype of the parameter changes")
        kinds = [isinstance(m, Tensor) and m.dtype == dtype for m in kept]
        expect(all(kinds), "the momentum has another dtype than its parameter: torch.zeros_like(p)")
        message = "parameters of another dtype than float32 go elsewhere: is something computed in a fixed dtype?"
        expect(close(p, plain, *((0.1, 0.05) if dtype == torch.bfloat16 else (1e-3, 1e-4))), message)
        moved = [m for m in kept if dtype == torch.float64 and bool(m.any())]
        rounded = len(moved) > 0 and all(bool((m == m.float()).all()) for m in moved)
        message = (
            "the momentum of a float64 parameter has only the precision of float32: is it computed in a fixed dtype?"
        )
        expect(not rounded, message)


def drive_layout(student, start, gradients, rows, turned, options):
    """Many times the same numbers, as the rows of one parameter: the least and the greatest that become of each."""
    import torch

    many = start.unsqueeze(1).expand(-1, rows).clone().t() if turned else start.expand(rows, -1).clone()
    p = torch.nn.Parameter(many)
    lion = student.Lion([p], **options)
    for gradient in gradients:
        p.grad = gradient.expand(rows, -1).clone()
        lion.step()
    return p.detach().amin(0), p.detach().amax(0)


@check("optimizer", points=1, title="large parameters, and those of another layout", seconds=5)
def layout_does_not_matter(student, rng):
    seen = look(student, rng, CLASS)
    start, gradients, options = numbers(rng, 64), list(spread(rng, 2, 64)), seen.options(lr=0.25, weight_decay=0.1)
    plain = run(student, [start], [[gradient] for gradient in gradients], options)
    expect_moved(plain)
    form = [like(start, dtype=None, finite=False)] * 2
    large = 2**12 + 9
    cases = [(3, True, "that is not contiguous"), (large, False, "of more than 2**18 numbers")]
    for rows, turned, what in [*cases, (large, True, "of more than 2**18 numbers that are not contiguous")]:
        with blame(f"a parameter {what} makes step fail, and a small plain one does not", lambda: None):
            ends = ask(student, form, drive_layout, start, gradients, rows, turned, options)
        message = f"a parameter {what} does not go as a small plain one does"
        expect(all(close(end, plain[-1][0], 1e-5) for end in ends), message)


def drive_history(student, start, gradients, options):
    import torch

    p = torch.nn.Parameter(start.clone())
    lion = student.Lion([p], **options)
    for gradient in gradients:
        p.grad = gradient * torch.ones_like(p, requires_grad=True)  # as after backward(create_graph=True)
        lion.step()

    def tensors(value, depth):
        if isinstance(value, torch.Tensor):
            return [value]
        if depth and isinstance(value, dict):
            value = list(value.values())
        if depth and isinstance(value, (list, tuple)):
            return [t for item in value for t in tensors(item, depth - 1)]
        return []

    kept = [t for t in tensors(dict(vars(lion)), 6) if t is not p]
    return p.is_leaf and p.requires_grad, any(t.requires_grad for t in kept), p.detach().clone()


@check("optimizer", points=1, title="autograd records nothing", seconds=5)
def autograd_records_nothing(student, rng):
    seen = look(student, rng, CLASS)
    start, gradients = numbers(rng, 20), list(spread(rng, 3, 20))
    options = seen.options(lr=0.25, weight_decay=0.1)
    path = run(student, [start], [[gradient] for gradient in gradients], options)
    expect_moved(path)
    form = [bool, bool, like(start, dtype=None, finite=False)]
    leaf, recorded, p = ask(student, form, drive_history, start, gradients, options)
    expect(close(p, path[-1][0], 1e-6, 1e-6), AGAIN)
    expect(leaf is True, "after a step the parameter is no leaf any more: update it in torch.no_grad()")
    message = "the momentum has a history, which grows with every step until memory is full: torch.no_grad()"
    expect(recorded is False, message)
