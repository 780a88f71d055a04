"""What `foreach` asks for: the update of a whole list, in operations that do not grow with it."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

import torch
from torch import Tensor

from cs336lite.course.answers import anything, ask, blame, close, list_of, same
from cs336lite.course.spec import check, expect

from .asking import TOGETHER, ends_right, expect_a_parameter, numbers, ordinary, some_betas, spread
from .lion import DEFAULTS, momenta_of, weights

Lists = tuple[list[Tensor], list[Tensor], list[Tensor]]


def drive_foreach(student, params, grads, momenta, lr, betas, weight_decay):
    import torch

    with torch.no_grad():
        student.lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay)
    return params, grads, momenta


LISTS_STILL = "the tensors of the first list do not change: work in place"


@dataclass(frozen=True)
class Update:
    """An update of some lists: what is given, and what the parameters and the momenta become."""

    given: Lists
    options: tuple[float, tuple[float, float], float]  # lr, betas, weight_decay

    def params(self, of_old: float, of_new: float, left: float | None = None, after: float = 1.0) -> list[Tensor]:
        """``left``: what the decay leaves of a parameter before the step; ``after``: what it leaves after that."""
        lr, _, wd = self.options
        left = 1 - lr * wd if left is None else left
        rows = zip(*self.given, strict=True)
        return [after * (p * left - lr * (of_old * m + of_new * g).sign()) for p, g, m in rows]

    def momenta(self, of_old: float, of_new: float) -> list[Tensor]:
        return [of_old * m + of_new * g for _, g, m in zip(*self.given, strict=True)]

    def ask(self, student) -> Lists:
        """What the student's function makes of the lists."""
        lists = [list_of(anything, len(self.given[0]))] * 3
        found = ask(student, lists, drive_foreach, *self.given, *self.options)
        self.expect_shapes(found)
        return found

    def expect_shapes(self, found: Lists) -> None:
        for lists in found:
            for new, old in zip(lists, self.given[0], strict=True):
                alike = isinstance(new, Tensor) and new.shape == old.shape
                expect(alike, "the tensors of the lists must keep their shapes")
        params, *_ = found
        still = all(close(new, old, 1e-7) for new, old in zip(params, self.given[0], strict=True))
        expect(not still, LISTS_STILL)
        expect(all(bool(new.isfinite().all()) for new in params), "parameters become nan or infinite")

    def judge(self, found: Lists) -> tuple[list[bool], list[bool], list[bool]]:
        """Which parameters and momenta are right, and which gradients as they were."""
        params, grads, momenta = found
        beta1, beta2 = self.options[1]
        return (
            [close(new, right, 1e-4) for new, right in zip(params, self.params(beta1, 1 - beta1), strict=True)],
            [close(new, right, 1e-4) for new, right in zip(momenta, self.momenta(beta2, 1 - beta2), strict=True)],
            [same(new, old) for new, old in zip(grads, self.given[1], strict=True)],
        )

    def begun(self, found: Lists) -> bool:
        """Whether parameters or some momenta are right but for weights or signs: else nothing can be said of the rest."""
        params, _, momenta = found
        some = [w for beta in self.options[1] for w in weights(beta)]
        return any(
            all(close(new, right, 1e-4) for new, right in zip(params, self.params(*w), strict=True))
            for w in [*some, *((-old, -new) for old, new in some)]
        ) or any(close(new, right, 1e-4) for w in some for new, right in zip(momenta, self.momenta(*w), strict=True))


BEGUN = "neither the parameters nor the momenta of the lists become what they should, or nearly: until then, nothing else can be judged"


def lists_of(rng: random.Random, shapes: list[tuple[int, ...]], betas: tuple[float, float] | None = None) -> Update:
    params, grads, momenta = ([draw(rng, *shape) for shape in shapes] for draw in (numbers, spread, spread))
    return Update((params, grads, momenta), (0.25, betas or some_betas(rng), 0.5))


SHAPES = [(400,), (5, 3), (), (7, 1, 2)]


@check("foreach", points=1, title="all parameters take their step", seconds=5)
def lists_of_parameters_change(student, rng):
    # beta1 is so far from 0.618 that a momentum without its weight turns many signs: m + beta1 g and
    # beta1 m + (1 - beta1) g are alike there.
    update = lists_of(rng, SHAPES, (round(rng.uniform(0.7, 0.78), 3), round(rng.uniform(0.9, 0.95), 3)))
    found = update.ask(student)
    alike, _, _ = update.judge(found)
    lr, (beta1, beta2), wd = update.options
    right = beta1, 1 - beta1
    messages = {
        "weight_decay has no effect on the parameters of the list": update.params(*right, 1.0),
        "lr is missing in the decay: parameters shrink by lr * weight_decay": update.params(*right, 1 - wd),
        "parameters shrink by lr: the factor is 1 - lr * weight_decay": update.params(*right, 1 - lr),
        "the decay has the wrong sign: parameters grow": update.params(*right, 1 + lr * wd),
        "decay comes after the step: first p (1 - lr wd), then the step": update.params(*right, 1.0, 1 - lr * wd),
        "parameters climb: the step is subtracted": update.params(-beta1, beta1 - 1),
        "the directions are weighed by beta2: they are weighed by beta1": update.params(beta2, 1 - beta2),
        "the directions are the signs of the gradients alone: where are the momenta?": update.params(0.0, 1.0),
        "the directions are the signs of the momenta alone: where are the gradients?": update.params(1.0, 0.0),
        "in the directions the gradients lack their weight 1 - beta1": update.params(beta1, 1.0),
        "in the directions beta1 weighs the gradients: it weighs the momenta": update.params(1 - beta1, beta1),
    }
    params, *_ = found
    for message, others in messages.items():
        expect(all(alike) or not all(close(p, q, 1e-4) for p, q in zip(params, others, strict=True)), message)
    expect(any(alike), "parameters do not become what decay and step make of them")
    expect(all(alike), "some parameters of the list do not become what decay and step make of them")
    update = lists_of(rng, SHAPES, (0.0, 0.9))
    with blame(WITH_ZERO.format("beta1"), lambda: None):
        alike, _, _ = update.judge(update.ask(student))
    expect(all(alike), WITH_ZERO.format("beta1"))


WITH_ZERO = "the update goes wrong where {} is 0, which is allowed: is something divided by it?"


@check("foreach", points=1, title="all momenta change in place", seconds=5)
def lists_of_momenta_change(student, rng):
    update = lists_of(rng, SHAPES)
    _, alike, _ = update.judge(update.ask(student))
    expect(all(alike), "the momenta of the list must become beta2 * momentum + (1 - beta2) * gradient, in place")
    update = lists_of(rng, SHAPES, (0.9, 0.0))
    with blame(WITH_ZERO.format("beta2"), lambda: None):
        _, alike, _ = update.judge(update.ask(student))
    expect(all(alike), WITH_ZERO.format("beta2"))


@check("foreach", points=1, title="gradients are only read", seconds=5)
def lists_of_gradients_stay(student, rng):
    update = lists_of(rng, SHAPES)
    found = update.ask(student)
    expect(all(update.judge(found)[2]), "gradients of the list change: they are only read")
    expect(update.begun(found), BEGUN)


def drive_counted(student, params, grads, momenta, lr, betas, weight_decay):
    """The update on tensors without numbers, behind which are those with them: only operations that are counted reach these."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    behind, fronts, calls = {}, {}, []

    def front(t):
        if isinstance(t, (list, tuple)):
            return type(t)(map(front, t))
        if not isinstance(t, torch.Tensor) or t.numel() == 0:
            return t
        if id(t) not in fronts:
            fronts[id(t)] = torch.full_like(t, 7)
            behind[fronts[id(t)].untyped_storage().data_ptr()] = t
        return fronts[id(t)]

    def back(t):
        if isinstance(t, (list, tuple)):
            return type(t)(map(back, t))
        return behind.get(t.untyped_storage().data_ptr(), t) if isinstance(t, torch.Tensor) else t

    class Count(TorchDispatchMode):
        @classmethod
        def _should_skip_dynamo(cls):  # to skip it, PyTorch would import it: seconds, and a folder to write in
            return False

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            calls.append(func)
            return front(func(*back(args), **{k: back(v) for k, v in (kwargs or {}).items()}))

    lists = [front(list(tensors)) for tensors in (params, grads, momenta)]
    with torch.no_grad(), Count():
        student.lion_update_foreach_(*lists, lr, betas, weight_decay)
    return len(calls), params, grads, momenta


@check("foreach", points=4, title="as many operations for many tensors as for few", seconds=5)
def operations_do_not_grow(student, rng):
    counts = []
    for number in (3, 16):
        update = lists_of(rng, [(rng.randrange(3, 9),)] * number)
        plain = update.ask(student)
        moved = not any(close(new, old, 1e-7) for new, old in zip(plain[0], update.given[0], strict=True))
        expect(moved, "some tensors of the first list do not change: the work on all is counted")
        expect(update.begun(plain), BEGUN)
        lists = [list_of(anything, number)] * 3
        count, *counted = ask(student, [int, *lists], drive_counted, *update.given, *update.options)
        alike = [
            close(a, b, 1e-4, 1e-5)
            for new, old in zip(counted, plain, strict=True)
            for a, b in zip(new, old, strict=True)
        ]
        message = "the lists do not change where operations on tensors are counted: use torch's operations on lists, torch._foreach_"
        expect(all(alike), message)
        counts.append(count)
    few, many = counts
    expect(
        few == many,
        "the number of operations grows with the number of tensors: use operations on lists, torch._foreach_",
    )


def drive_foreach_often(student, params, rows, momenta, lr, betas, weight_decay):
    import torch

    with torch.no_grad():
        for grads in rows:
            student.lion_update_foreach_(params, grads, momenta, lr, betas, weight_decay)
    return params, momenta


@check("foreach", points=8, title="together: five updates of many tensors", seconds=5)
def lists_together(student, rng):
    start, gradients = ordinary(rng, 5, 400)
    cut, lr, weight_decay = [200, 1, 199], 0.01, 0.1
    given = list(start.split(cut)), [list(row.split(cut)) for row in gradients], [torch.zeros(n) for n in cut]
    form = [list_of(anything, 3)] * 2
    found = ask(student, form, drive_foreach_often, *given, lr, DEFAULTS, weight_decay)
    for one, old in zip(itertools.chain(*found), [*given[0], *given[2]], strict=True):
        expect_a_parameter(one, old)
    params, momenta = (torch.cat(list(tensors)) for tensors in found)
    m = momenta_of(gradients.double(), DEFAULTS[1], 1 - DEFAULTS[1], torch.zeros(400, dtype=torch.double))[-1]
    right = ends_right(params, start, gradients, [lr] * 5, weight_decay) and close(momenta, m, 1e-4, 1e-5)
    expect(right, TOGETHER.format("five updates of lists do not lead where those of single tensors lead."))
