r"""Hidden checks of a4_lion: 100 points, judged through the class `Lion` and through `lion_update_foreach_`.

A step of Lion is a sign, so what can be seen of momentum and interpolation is where signs turn. Gradients are drawn so that
every usual misconception (which weights, which order, what is kept) gives other signs than the right algorithm and than
every other misconception: the signs of a solution then tell what it does. A solution that climbs, or whose steps have
another size, loses the points of that and not those of the momentum. What an optimizer does with groups, missing
gradients and checkpoints is judged by comparing runs of the same solution.

None of this says anything of what is no Lion at all: each check first asks for some steps, and goes on when they are those
of a Lion with whatever mistake (`expect_a_lion`). All comparing is done here. The student's side only computes: it tells
the numbers before and after, and not whether they are the same.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from cs336lite.course.answers import anything, ask, close, like, list_of, same
from cs336lite.course.spec import Fail, StudentError, check, drawn, expect, known_kind

WARM = ("torch", "einops", "jaxtyping", "torch.utils._python_dispatch")  # imported once, before a worker forks
OPTIMIZERS = (
    *("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "LBFGS", "Muon", "NAdam", "RAdam"),
    *("RMSprop", "Rprop", "SGD", "SparseAdam"),
)
REFUSED = (  # another optimizer by the name of Lion
    *(f"torch.optim.{name}.step" for name in OPTIMIZERS),
    *sorted({getattr(torch.optim, name).__module__ for name in OPTIMIZERS}),  # the functions that do the work
    *("torch.optim._functional", "*_fused_adam*", "*_fused_sgd*", "*_fused_adagrad*"),
)
PAPER = "https://arxiv.org/abs/2302.06675"
READ = {  # where to read on, by exercise
    "direction": ("Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, algorithm 2", PAPER),
    "update": ("Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization", "https://arxiv.org/abs/1711.05101"),
    "foreach": "Section 3 of the assignment, Many tensors at once",
    "optimizer": "Section 4 of the assignment; in the manual of PyTorch, torch.optim.Optimizer",
}

STILL = "the parameters do not move in a first step: step must change them in place"
AGAIN = "the same steps do not lead to the same parameters: they depend on parameters, gradients and momentum alone"


# ---------------------------------------------------------------------------------------------------------------------
# Asking


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


def run(student, starts, gradients, options, groups=(), changes=None, problems=None) -> list[list[Tensor]]:
    """The parameters of a solution at first and after each step; ``problems``: what to say of an exception, by name."""
    form = list_of(list_of(anything, len(starts)), len(gradients))
    try:
        seen = ask(student, form, drive_steps, starts, list(groups), gradients, options, changes or {})
    except StudentError as error:
        if problems and error.kind in problems:
            raise Fail(problems[error.kind]) from None
        raise
    for row in seen:
        for p, start in zip(row, starts, strict=True):
            expect_a_parameter(p, start)
    return [list(starts), *seen]


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


def expect_changed(p: Tensor, start: Tensor) -> None:
    expect_a_parameter(p, start)
    expect(not close(p, start, 1e-7), STILL)


def expect_moved(seen: list[list[Tensor]]) -> None:
    expect_changed(seen[1][0], seen[0][0])


LR = 2.0**-5


# ---------------------------------------------------------------------------------------------------------------------
# Is it a Lion?

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


def disagreement(steps: Tensor, direction: Tensor) -> float:
    """The share of steps that have not the sign of their direction, or of those that have it when these are fewer."""
    found = torch.where(steps.abs() < 1e-7, 0.0, steps.sign())
    asked = torch.where(direction.abs() < 1e-12, 0.0, direction.sign())
    return min(int((found != asked).sum()), int((found != -asked).sum())) / found.numel()


def goes_like(steps: Tensor, direction: Tensor) -> bool:
    """Whether steps have the signs of these directions, or exactly the other signs; rounding may turn one in a thousand."""
    return disagreement(steps, direction) <= 1e-3


def even(steps: Tensor) -> bool:
    """Whether all parameters go equally far in each step."""
    return close(steps.abs(), steps.abs()[:, :1].expand_as(steps), 1e-6, 1e-3)


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
    beta1, beta2 = betas
    if interpolates(steps, g, beta1, beta2) or interpolates(steps, g, beta2, beta1):
        return True
    if not even(steps):
        return False
    zero = torch.zeros_like(g[0])
    m = momenta_of(g, beta2, 1 - beta2, zero)[:-1]
    kept = [w for beta in (*betas, 0.9, 0.99) for w in weights(beta)]
    near = disagreement(steps, beta1 * m + (1 - beta1) * g) < 0.14
    return near or any(goes_like(steps, momenta_of(g, *w, zero)[:-1]) for w in kept)


# ---------------------------------------------------------------------------------------------------------------------
# What the signs of the steps tell

DIRECTIONS = ("right", "beta2", "no complement", "exchanged", "gradient", "momentum")
INTERPOLATING = DIRECTIONS[:4]
MOMENTA = ("right", "beta1", "no complement", "exchanged", "corrected", "sign", "first gradient")
ORDERS = ("right", "momentum first")
Kind = tuple[str, str, str]
KINDS: list[Kind] = list(itertools.product(DIRECTIONS, MOMENTA, ORDERS))


def signs(gradients: Tensor, betas: tuple[float, float], kind: Kind) -> Tensor:
    """The directions, (steps, n), that an algorithm of this kind takes when it sees these gradients, (steps, n)."""
    direction, momentum, order = kind
    beta1, beta2 = betas
    m = gradients[0].double() if momentum == "first gradient" else torch.zeros_like(gradients[0].double())
    found = []
    for step, g in enumerate(gradients.double()):
        kept, taken = {
            "beta1": (beta1, 1 - beta1),
            "no complement": (beta2, 1.0),
            "exchanged": (1 - beta2, beta2),
        }.get(momentum, (beta2, 1 - beta2))
        new = kept * m + taken * (g.sign() if momentum == "sign" else g)
        steps = step + (order == "momentum first")  # that the momentum has seen
        old = new if order == "momentum first" else m
        if momentum == "corrected" and steps:
            old = old / (1 - beta2**steps)
        of_old, of_new = {
            "right": (beta1, 1 - beta1),
            "beta2": (beta2, 1 - beta2),
            "no complement": (beta1, 1.0),
            "exchanged": (1 - beta1, beta1),
            "gradient": (0.0, 1.0),
            "momentum": (1.0, 0.0),
        }[direction]
        c = of_old * old + of_new * g
        found.append(torch.where(c.abs() < 1e-12, 0.0, c.sign()))
        m = new
    return torch.stack(found)


@dataclass(frozen=True)
class Question:
    """Gradients, and the signs with which every kind of algorithm answers them."""

    start: Tensor
    gradients: Tensor  # (steps, n)
    betas: tuple[float, float]
    answers: Tensor  # (kinds, steps, n), in the order of KINDS


@drawn
def telling(rng) -> Question:
    """A question to which no two kinds that interpolate have the same answer."""
    while True:
        betas, gradients = some_betas(rng), spread(rng, 6, 400)
        answers = torch.stack([signs(gradients, betas, kind) for kind in KINDS]).to(torch.int8)
        patterns = {kind: answer.numpy().tobytes() for kind, answer in zip(KINDS, answers, strict=True)}
        seen = [patterns[kind] for kind in KINDS if kind[0] in INTERPOLATING]
        # The sign of the new momentum is an interpolation too, by the weights of the momentum.
        others = {patterns[kind] for kind in KINDS if kind[0] == "gradient" or kind[::2] == ("momentum", "right")}
        if len(set(seen)) == len(seen) and not others & set(seen):
            return Question(numbers(rng, 400), gradients, betas, answers)


def drive_kept(student, start, gradients, options):
    """What the state of a parameter holds after some steps that has its shape."""
    import torch

    p = torch.nn.Parameter(start.clone())
    lion = student.Lion([p], **options)
    for gradient in gradients:
        p.grad = gradient.clone()
        lion.step()
    return [v.detach().clone() for v in lion.state[p].values() if isinstance(v, torch.Tensor) and v.shape == p.shape]


ALONE = "the direction is the sign of the {} alone: interpolate momentum and gradient by beta1"
NO_LION = (
    "the steps are not by lr along the sign of momentum and gradient, weighed by beta1, nor nearly so: "
    "until they are, nothing else can be judged"
)


def look_for_a_lion(student, question: Question) -> list[Kind] | str:
    """The kinds of algorithm that step as this solution does, or exactly against that; or why it is no Lion."""
    rows = [[gradient] for gradient in question.gradients]
    options = {"lr": LR, "betas": question.betas, "weight_decay": 0.0}
    seen = run(student, [question.start], rows, options)
    steps, g = torch.stack([row[0].double() for row in seen]).diff(dim=0), question.gradients.double()
    if not bool((steps.abs() > 1e-7).any()):
        return STILL
    if not follows_a_momentum(steps, g, question.betas):
        if not (even(steps) and goes_like(steps, g)):
            return NO_LION
        # the sign of the gradient alone: still a Lion with a mistake when it keeps a momentum
        form = list_of(like(question.start, dtype=None), least=0, most=20)
        kept = ask(student, form, drive_kept, question.start, list(question.gradients), options)
        m = momenta_of(g, question.betas[1], 1 - question.betas[1], torch.zeros_like(g[0]))[-1]
        if not any(close(one, m, 1e-4, 1e-4) for one in kept):
            return ALONE.format("gradient")
    found = torch.where(steps.abs() < 1e-7, 0.0, steps.sign()).to(torch.int8)
    alike = [(question.answers == way).flatten(1).all(1) for way in (found, -found)]
    return [kind for kind, one, other in zip(KINDS, *alike, strict=True) if one or other]


looked: WeakKeyDictionary = WeakKeyDictionary()
"""What was found of each student: kinds, or what to say when it is no Lion."""


def expect_a_lion(student, rng: random.Random) -> list[Kind]:
    """The kinds of algorithm that step as this solution does; a student is asked once.

    Fails unless it is a Lion, perhaps with mistakes: of anything else the rest says nothing.
    """
    question = random.Random(rng.getrandbits(64))
    if student not in looked:
        looked[student] = look_for_a_lion(student, telling(question))
    found = looked[student]
    if isinstance(found, str):
        raise Fail(found)
    return found


def expect_interpolated(kinds: list[Kind]) -> None:
    """Two of the misconceptions leave little to be seen of the rest."""
    if any(kind[0] in INTERPOLATING for kind in kinds):
        return
    for alone in ("gradient", "momentum"):
        expect(not any(kind[0] == alone for kind in kinds), ALONE.format(alone))


SWAPPED = "beta1 and beta2 are swapped: beta1 is for the direction, beta2 for the momentum"


def expect_not_swapped(kinds: list[Kind]) -> None:
    expect(not any(kind[:2] == ("beta2", "beta1") for kind in kinds), SWAPPED)


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 1: direction


@check("direction", points=4, title="steps go down", seconds=5)
def steps_go_down(student, rng):
    expect_a_lion(student, rng)
    start, gradient = numbers(rng, 40), spread(rng, 40)
    seen = run(student, [start], [[gradient]], {"lr": LR})
    expect_moved(seen)
    step = seen[1][0] - start
    expect(not bool((step.sign() == gradient.sign()).all()), "parameters climb: the step is subtracted")
    expect(bool((step.sign() == -gradient.sign()).all()), "the first step must go against the gradient everywhere")


@check("direction", points=6, title="beta1 weighs momentum and gradient", seconds=5)
def beta1_weighs_the_direction(student, rng):
    kinds = expect_a_lion(student, rng)
    if any(kind[0] == "right" for kind in kinds):
        return
    expect_interpolated(kinds)
    expect_not_swapped(kinds)
    messages = {
        "beta2": "the direction is weighed by beta2, like the new momentum: it is beta1 * momentum + (1 - beta1) * gradient",
        "no complement": "in the direction the gradient lacks its weight 1 - beta1",
        "exchanged": "in the direction beta1 weighs the gradient: it weighs the momentum, and 1 - beta1 the gradient",
    }
    for direction, message in messages.items():
        expect(not any(kind[0] == direction for kind in kinds), message)
    raise Fail("the direction is not the sign of beta1 * momentum + (1 - beta1) * gradient")


@check("direction", points=5, title="every step has the size lr", seconds=5)
def steps_have_the_size_lr(student, rng):
    expect_a_lion(student, rng)
    start, lr = numbers(rng, 40), rng.choice([2.0**-4, 2.0**-6])
    gradients = [spread(rng, 40) * scale for scale in (1e-12, 1.0, 1e12)]
    seen = run(student, [start], [[gradient] for gradient in gradients], {"lr": lr, "betas": some_betas(rng)})
    expect(not all(close(row[0], start, 1e-30) for row in seen), STILL)
    sizes = torch.stack([row[0].double() for row in seen]).diff(dim=0).abs()
    if close(sizes, torch.full_like(sizes, lr), 1e-3 * lr):
        return
    first = sizes[1]
    expect(close(first, first[:1].expand_as(first), 1e-3 * lr), "steps are of different sizes: take the sign, -1 or 1")
    expect(close(first, torch.full_like(first, lr), 1e-3 * lr), "steps are alike, and their size is not lr")
    raise Fail("where gradients are very small or very large, the size of a step is not lr: take the sign, -1 or 1")


@check("direction", points=5, title="the sign of 0 is 0", seconds=5)
def the_sign_of_zero_is_zero(student, rng):
    expect_a_lion(student, rng)
    start, gradient = numbers(rng, 40), spread(rng, 40)
    idle = torch.tensor([rng.random() < 0.4 for _ in range(40)])
    idle[:2] = torch.tensor([True, False])
    row = [torch.where(idle, 0.0, gradient)]
    seen = run(student, [start], [row, row], {"lr": LR})
    expect(not close(seen[1][0][~idle], start[~idle], 1e-7), STILL)
    message = "where gradient and momentum are 0 the parameter moves: the sign of 0 is 0"
    expect(torch.equal(seen[2][0][idle], start[idle]), message)


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 2: update


@check("update", points=6, title="beta2 weighs the momentum", seconds=5)
def beta2_weighs_the_momentum(student, rng):
    kinds = expect_a_lion(student, rng)
    if any(kind[0] in INTERPOLATING and kind[1] == "right" for kind in kinds):
        return
    expect_interpolated(kinds)
    expect_not_swapped(kinds)
    messages = {
        "beta1": "beta1 weighs the momentum too: it is beta2 * momentum + (1 - beta2) * gradient",
        "no complement": "in the momentum the gradient lacks its weight 1 - beta2",
        "exchanged": "in the momentum beta2 weighs the gradient: it weighs the old momentum, 1 - beta2 the gradient",
        "corrected": "the momentum is corrected for its bias as in Adam: Lion takes it as it is",
        "sign": "the momentum collects the signs of gradients: it collects the gradients",
        "first gradient": "the momentum begins with the first gradient: it begins at 0",
    }
    for momentum, message in messages.items():
        expect(not any(kind[1] == momentum for kind in kinds), message)
    raise Fail("the momentum does not become beta2 * momentum + (1 - beta2) * gradient")


@check("update", points=5, title="the momentum changes after the direction is taken", seconds=5)
def momentum_comes_last(student, rng):
    kinds = expect_a_lion(student, rng)
    if any(kind[0] in INTERPOLATING and kind[2] == "right" for kind in kinds):
        return
    expect_interpolated(kinds)
    message = "the momentum is updated before the direction is taken: the newest gradient then counts twice"
    expect(not any(kind[2] == "momentum first" for kind in kinds), message)
    raise Fail("the steps are not those of a direction taken from the momentum of the steps before")


@check("update", points=5, title="parameters decay by lr * weight_decay", seconds=5)
def parameters_decay(student, rng):
    expect_a_lion(student, rng)
    start, gradient = numbers(rng, 40), spread(rng, 40)
    gradient[:20] = 0.0  # where neither gradient nor momentum is, only the decay is left
    lr, weight_decay = round(rng.uniform(0.1, 0.2), 3), round(rng.uniform(0.2, 0.6), 3)
    without, decayed = (
        run(student, [start], [[gradient]], {"lr": lr, "weight_decay": wd})[1][0] for wd in (0.0, weight_decay)
    )
    expect(not close(without[20:], start[20:], 1e-7), STILL)
    # what the decay alone has done, whatever is made of a gradient of 0
    left = 1 + (decayed - without)[:20].double() / start[:20].double()
    candidates = {
        "": 1 - lr * weight_decay,
        "weight_decay has no effect": 1.0,
        "lr is missing: parameters shrink by lr * weight_decay, not by weight_decay": 1 - weight_decay,
        "the decay has the wrong sign: parameters grow": 1 + lr * weight_decay,
        "lr comes in twice: parameters shrink by lr * weight_decay": 1 - lr * lr * weight_decay,
        "weight_decay comes in twice: has decay been applied two times?": (1 - lr * weight_decay) ** 2,
        "parameters shrink by lr: the factor is 1 - lr * weight_decay": 1 - lr,
    }
    after = 1 - lr * weight_decay * (without / start)[:20].double()  # the decay of what the step has left
    if close(left, torch.full_like(left, candidates[""]), 2e-4) or close(left, after, 2e-4):
        return
    for message, factor in candidates.items():
        expect(not message or not close(left, torch.full_like(left, factor), 2e-4), message)
    equal = close((decayed - without)[:20].abs(), (decayed - without)[:1].abs().expand(20), 1e-4)
    expect(
        not equal,
        "weight decay is put into the gradient, and only its sign is left: shrink the parameter itself",
    )
    raise Fail("where gradient and momentum are 0, a parameter must be multiplied by 1 - lr * weight_decay, no more")


@check("update", points=5, title="decay has no say in the direction", seconds=5)
def decay_is_decoupled(student, rng):
    expect_a_lion(student, rng)
    # Gradients so small that decay would outweigh them in a sum, and a decay that is small beside a step.
    start, rows = numbers(rng, 60), [[spread(rng, 60) * 1e-4] for _ in range(6)]
    options = {"lr": 0.25, "betas": some_betas(rng)}
    steps = []
    for weight_decay in (0.0, round(rng.uniform(0.01, 0.015), 4)):
        seen = run(student, [start], rows, {**options, "weight_decay": weight_decay})
        expect_moved(seen)
        steps.append(torch.stack([row[0].double() for row in seen]).diff(dim=0))
    without, decayed = steps
    large = without.abs() > 0.1
    expect(bool(large.any()), "steps are far smaller than lr: the sign of the direction is missing")
    turned = large & (without * decayed <= 0)
    few = len(start) // 50  # a momentum that decays by itself turns one or two in all
    message = "weight decay turns steps round: it is added to the gradient, and has to shrink the parameter alone"
    expect(int(turned[0].sum()) <= few, message)
    message = "weight decay gets into the momentum, and turns later steps round: it has to shrink the parameter alone"
    expect(int(turned.sum()) <= 6 * few, message)


@check("update", points=4, title="decay comes before the step", seconds=5)
def decay_comes_first(student, rng):
    expect_a_lion(student, rng)
    start, gradient = numbers(rng, 40), spread(rng, 40)
    options = {"lr": 0.25}
    without, decayed = (
        run(student, [start], [[gradient]], {**options, "weight_decay": wd})[1][0].double() for wd in (0.0, 0.5)
    )
    expect(not close(without, start, 1e-7), STILL)
    lost = without - decayed
    expect(not close(lost, torch.zeros(40), 1e-6), "weight_decay has no effect")
    share = lost / start
    if close(share, share[:1].expand(40), 1e-3):
        return
    share = lost / without
    message = "decay comes after the step, so it shrinks the step too: first p (1 - lr wd), then the step"
    expect(not close(share, share[:1].expand(40), 1e-3), message)
    raise Fail("what decay takes away must be the same share of every parameter as it was before the step")


def drive_in_place(student, starts, gradients, options):
    import torch

    params = [torch.nn.Parameter(start.clone()) for start in starts]
    others = [p.detach() for p in params]  # the same memory under another name
    lion = student.Lion(params, **options)
    for row in gradients:
        for p, gradient in zip(params, row, strict=True):
            p.grad = gradient.clone()
        given = [p.grad for p in params]
        lion.step()
    return [p.detach().clone() for p in params], [other.clone() for other in others], [g.clone() for g in given]


def stepped(student, rng: random.Random, *shapes: tuple[int, ...]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """After two steps: the parameters, what else holds their memory, and whether each gradient is as it was."""
    starts = [numbers(rng, *shape) for shape in shapes]
    rows = [[spread(rng, *shape) for shape in shapes] for _ in range(2)]
    options = {"lr": LR, "weight_decay": 0.1}
    tensors = [like(start, dtype=None, finite=False) for start in starts]
    params, others, given = ask(student, [tensors, tensors, tensors], drive_in_place, starts, rows, options)
    for p, start, again in zip(params, starts, run(student, starts, rows, options)[-1], strict=True):
        expect_changed(p, start)
        expect(close(p, again, 1e-6, 1e-6), AGAIN)
    return params, others, [same(g, old) for g, old in zip(given, rows[-1], strict=True)]


@check("update", points=3, title="parameters change in place", seconds=5)
def parameters_change_in_place(student, rng):
    expect_a_lion(student, rng)
    params, others, _ = stepped(student, rng, (40,), (5, 3))
    message = (
        "the parameter gets new memory in each step: what else holds it does not see the change; use mul_ and add_"
    )
    expect(all(same(other, p) for p, other in zip(params, others, strict=True)), message)


@check("update", points=2, title="gradients stay as they are", seconds=5)
def gradients_stay(student, rng):
    expect_a_lion(student, rng)
    _, _, unchanged = stepped(student, rng, (40,))
    expect(all(unchanged), "step changes the gradient: it may be needed again, and is only read")


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 3: foreach

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

    def params(self, of_old: float, of_new: float) -> list[Tensor]:
        lr, _, wd = self.options
        return [p * (1 - lr * wd) - lr * (of_old * m + of_new * g).sign() for p, g, m in zip(*self.given, strict=True)]

    def momenta(self, of_old: float, of_new: float) -> list[Tensor]:
        return [of_old * m + of_new * g for _, g, m in zip(*self.given, strict=True)]

    def judge(self, found: Lists, what: str = "") -> tuple[list[bool], list[bool], list[bool]]:
        """Which parameters and momenta are right, and which gradients as they were. Raises Fail where nearly none is."""
        for lists in found:
            for new, old in zip(lists, self.given[0], strict=True):
                expect(
                    isinstance(new, Tensor) and new.shape == old.shape,
                    "the tensors of the lists must keep their shapes",
                )
        params, grads, momenta = found
        still = all(close(new, old, 1e-7) for new, old in zip(params, self.given[0], strict=True))
        expect(not still, LISTS_STILL)
        expect(all(bool(new.isfinite().all()) for new in params), "parameters become nan or infinite")
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


def lists_of(rng: random.Random, shapes: list[tuple[int, ...]]) -> Update:
    params, grads, momenta = ([draw(rng, *shape) for shape in shapes] for draw in (numbers, spread, spread))
    return Update((params, grads, momenta), (0.25, some_betas(rng), 0.5))


def updated(student, rng: random.Random) -> tuple[Update, Lists]:
    """An update, and what the student's function makes of its lists."""
    update = lists_of(rng, [(40,), (5, 3), (), (7, 1, 2)])
    lists = [list_of(anything, 4)] * 3
    return update, ask(student, lists, drive_foreach, *update.given, *update.options)


@check("foreach", points=5, title="all parameters take their step", seconds=5)
def lists_of_parameters_change(student, rng):
    update, found = updated(student, rng)
    alike, _, _ = update.judge(found)
    expect(any(alike), "parameters do not become what decay and step make of them")
    expect(all(alike), "some parameters of the list do not become what decay and step make of them")


@check("foreach", points=4, title="all momenta change in place", seconds=5)
def lists_of_momenta_change(student, rng):
    update, found = updated(student, rng)
    _, alike, _ = update.judge(found)
    expect(all(alike), "the momenta of the list must become beta2 * momentum + (1 - beta2) * gradient, in place")


@check("foreach", points=2, title="gradients are only read", seconds=5)
def lists_of_gradients_stay(student, rng):
    update, found = updated(student, rng)
    _, _, unchanged = update.judge(found)
    expect(all(unchanged), "gradients of the list change: they are only read")
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
        lists = [list_of(anything, number)] * 3
        plain = ask(student, lists, drive_foreach, *update.given, *update.options)
        update.judge(plain)
        moved = not any(close(new, old, 1e-7) for new, old in zip(plain[0], update.given[0], strict=True))
        expect(moved, "some tensors of the first list do not change: the work on all is counted")
        expect(update.begun(plain), BEGUN)
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


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 4: optimizer. Runs of one solution are compared with each other, so its rule need not be quite right.


SHARED = "{} share a momentum: each parameter has its own, in self.state[p]"


def as_one(seen: list[list[Tensor]], place: int) -> Tensor:
    """The path of one parameter."""
    return torch.stack([row[place] for row in seen])


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
        paths = [signs(torch.stack([row[i] for row in rows]), betas, ("right",) * 3)[-1] for i in range(3)]
        if all(not torch.equal(a, b) for a, b in itertools.combinations(paths, 2)):
            return [numbers(rng, 24) for _ in range(3)], rows, betas


@check("optimizer", points=5, title="every group goes by its own values", seconds=5)
def groups_have_their_own_values(student, rng):
    expect_a_lion(student, rng)
    starts, rows, betas = far_apart(rng)
    own = [
        {},
        {"lr": 2.0**-4, "weight_decay": round(rng.uniform(0.5, 0.9), 3)},
        {"betas": (round(rng.uniform(0.1, 0.3), 3), round(rng.uniform(0.3, 0.5), 3))},
    ]
    options = {"lr": LR, "betas": betas, "weight_decay": 0.25}
    plain, together = (
        run(student, starts, rows, options, [([i], one) for i, one in enumerate(values)]) for values in ([{}] * 3, own)
    )
    expect_moved(together)
    for i in range(3):  # else nothing can be said of values
        alone = run(student, [starts[i]], [[row[i]] for row in rows], options)
        expect(close(as_one(plain, i), as_one(alone, 0), 1e-4), SHARED.format("groups"))
    for i, one in enumerate(own):
        alone = run(student, [starts[i]], [[row[i]] for row in rows], {**options, **one})
        names = " and ".join(one) or "values"
        message = f"a group with {names} of its own does not go by them: read lr, betas and weight_decay from the group"
        expect(close(as_one(together, i), as_one(alone, 0), 1e-4), message)
    # as a scheduler does, after the second step
    first, other = (
        run(student, starts[:1], [row[:1] for row in rows], options, changes=changes)
        for changes in (None, {2: [(0, "lr", 2.0**-3)]})
    )
    message = "lr of a group is changed between steps, and nothing follows: read it from the group in every step"
    expect(close(first[2][0], other[2][0], 1e-7) and not close(first[3][0], other[3][0], 1e-6), message)


@check("optimizer", points=4, title="a parameter without a gradient is left alone", seconds=5)
def missing_gradients_are_skipped(student, rng):
    expect_a_lion(student, rng)
    starts, rows, betas = far_apart(rng)
    options = {"lr": LR, "betas": betas, "weight_decay": 0.5}
    message = "a parameter whose gradient is None makes step fail: skip it"
    problems = dict.fromkeys(["TypeError", "AttributeError", "RuntimeError", "ValueError"], message)
    expect_moved(run(student, starts[:1], [row[:1] for row in rows], options))
    for first in (0, 2):  # without a gradient from the start, and after two steps with one
        given = [[row[0] if i < first else None, row[1]] for i, row in enumerate(rows)]
        seen = run(student, starts[:2], given, options, problems=problems)
        path = as_one(seen, 0)[first:]
        expect(
            not bool(torch.isclose(seen[-1][1], starts[1], atol=1e-7).all()),
            "the parameters after one without a gradient are forgotten: go on with the next",
        )
        decay = bool((path[1].abs() <= path[0].abs()).all())
        expect(not decay or torch.equal(path[1], path[0]), "a parameter whose gradient is None decays: leave it alone")
        expect(torch.equal(path, path[:1].expand_as(path)), "a parameter whose gradient is None moves: leave it alone")


def drive_closure(student, start, gradients, options, values):
    import torch

    p = torch.nn.Parameter(start.clone())
    p.grad = gradients[0].clone()  # a step before the closure would be seen
    lion = student.Lion([p], **options)
    seen = []
    for gradient, value in zip(gradients, values, strict=True):
        calls = []

        def closure(gradient=gradient, value=value, calls=calls):
            calls.append((torch.is_grad_enabled(), p.detach().clone()))
            p.grad = gradient.clone()
            return value

        answer = lion.step(closure)
        seen.append((answer, calls, p.detach().clone()))
    return seen, lion.step()


@check("optimizer", points=5, title="step runs its closure", seconds=5)
def step_runs_its_closure(student, rng):
    expect_a_lion(student, rng)
    start, gradients, values = (
        numbers(rng, 20),
        list(spread(rng, 3, 20)),
        [round(rng.uniform(1, 9), 4) for _ in range(3)],
    )
    options = {"lr": 0.25, "betas": some_betas(rng)}
    path = as_one(run(student, [start], [[gradient] for gradient in gradients], options), 0)
    p = like(start, dtype=None, finite=False)
    form = [list_of([anything, list_of([bool, p], least=0, most=100), p], 3), anything]
    try:
        seen, nothing = ask(student, form, drive_closure, start, gradients, options, values)
    except StudentError as error:
        if error.kind == "TypeError":
            raise Fail("step does not accept a closure: step(closure=None)") from None
        raise
    for step, (answer, calls, after) in enumerate(seen):
        expect(len(calls) > 0, "step does not call its closure")
        expect(len(calls) == 1, "step calls its closure more than once")
        enabled, before = calls[0]
        message = "the closure is called after the update: it computes the gradients, so it comes first"
        expect(close(before, path[step], 1e-6, 1e-6), message)
        expect(enabled is True, "the closure runs without gradients: call it in torch.enable_grad()")
        if step == 0:
            expect_changed(after, start)
        expect(
            close(after, path[step + 1], 1e-6, 1e-6),
            "a step with a closure does not go by the gradients of the closure",
        )
        expect(is_number(answer, values[step]), "step must return what its closure returns")
    expect(nothing is None, "without a closure step must return None")


def is_number(answer, value: float) -> bool:
    one = isinstance(answer, (int, float)) or (isinstance(answer, Tensor) and answer.numel() == 1)
    return one and float(answer) == value


@check("optimizer", points=4, title="every parameter has its own momentum", seconds=5)
def momenta_are_not_shared(student, rng):
    expect_a_lion(student, rng)
    starts, rows, betas = far_apart(rng)
    options = {"lr": LR, "betas": betas}
    alone = [run(student, [starts[i]], [[row[i]] for row in rows], options) for i in range(3)]
    expect_moved(alone[0])
    last = [(one[-1][0] - one[-2][0]).sign() for one in alone]
    message = "the momentum makes no difference to the steps, though the gradients before were different"
    expect(not all(torch.equal(last[0], one) for one in last), message)
    for groups, what in [([([0, 1, 2], {})], "parameters of a group"), ([([i], {}) for i in range(3)], "groups")]:
        together = run(student, starts, rows, options, groups)
        expect(all(close(as_one(together, i), as_one(alone[i], 0), 1e-4) for i in range(3)), SHARED.format(what))


def drive_resumed(student, starts, gradients, cut, options):
    import copy

    import torch

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
    saved = copy.deepcopy(lion.state_dict())
    answers = [steps(lion, params, gradients[cut:])]
    for load in (True, False):
        lion, params = begin(middle)
        if load:
            lion.load_state_dict(saved)
        answers.append(steps(lion, params, gradients[cut:]))
    return answers


@check("optimizer", points=5, title="a checkpoint holds the momenta", seconds=5)
def checkpoints_hold_the_momenta(student, rng):
    expect_a_lion(student, rng)
    starts, rows, betas = far_apart(rng)
    options = {"lr": LR, "betas": betas}
    path = run(student, starts, rows, options)
    form = [[like(start, dtype=None, finite=False) for start in starts]] * 3
    try:
        straight, resumed, fresh = ask(student, form, drive_resumed, starts, rows, 5, options)
    except StudentError as error:
        if error.kind in ("KeyError", "AttributeError", "TypeError"):
            raise Fail("after load_state_dict the next step fails: state_dict must hold all that step needs") from None
        raise
    expect_changed(straight[0], starts[0])
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
            p.grad = gradient.to(dtype)
            lion.step()
        kept = [v.detach() for v in lion.state[p].values() if isinstance(v, torch.Tensor) and v.shape == p.shape]
        found.append((p.detach().clone(), kept))
    return found


@check("optimizer", points=2, title="parameters and momenta keep their dtype", seconds=5)
def dtypes_are_kept(student, rng):
    expect_a_lion(student, rng)
    start, gradient, options = numbers(rng, 20), spread(rng, 20), {"lr": 0.25, "betas": some_betas(rng)}
    plain = run(student, [start], [[gradient]] * 2, options)[-1][0]
    p = like(start, dtype=None, finite=False)
    try:
        found = ask(
            student, list_of([p, list_of(anything, least=0, most=20)], 3), drive_kinds, start, gradient, options
        )
    except StudentError as error:
        if error.kind in ("RuntimeError", "TypeError", "ValueError"):
            raise Fail(
                "parameters of another dtype than float32 make step fail: models are trained in bfloat16 too"
            ) from None
        raise
    for dtype, (p, kept) in zip((torch.bfloat16, torch.float64, torch.float32), found, strict=True):
        expect_changed(p, start)
        expect(p.dtype == dtype, "the dtype of the parameter changes")
        kinds = [isinstance(m, Tensor) and m.dtype == dtype for m in kept]
        expect(all(kinds), "the momentum has another dtype than its parameter: torch.zeros_like(p)")
        message = "parameters of another dtype than float32 go elsewhere: is something computed in a fixed dtype?"
        expect(close(p, plain, *((0.1, 0.05) if dtype == torch.bfloat16 else (1e-3, 1e-4))), message)


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


@check("optimizer", points=3, title="autograd records nothing", seconds=5)
def autograd_records_nothing(student, rng):
    expect_a_lion(student, rng)
    start, gradients = numbers(rng, 20), list(spread(rng, 3, 20))
    options = {"lr": 0.25, "weight_decay": 0.1}
    path = run(student, [start], [[gradient] for gradient in gradients], options)
    form = [bool, bool, like(start, dtype=None, finite=False)]
    leaf, recorded, p = ask(student, form, drive_history, start, gradients, options)
    expect_changed(p, start)
    expect(close(p, path[-1][0], 1e-6, 1e-6), AGAIN)
    expect(leaf is True, "after a step the parameter is no leaf any more: update it in torch.no_grad()")
    message = "the momentum has a history, which grows with every step until memory is full: torch.no_grad()"
    expect(recorded is False, message)


def drive_arguments(student, start, gradient, cases):
    import torch

    make, found = student.Lion, []
    for options in cases:
        p, kind = torch.nn.Parameter(start.clone()), "nothing"
        try:
            lion = make([p], **options)
            p.grad = gradient.clone()
            lion.step()
        except NotImplementedError:
            raise
        except Exception as error:
            kind = "ValueError" if isinstance(error, ValueError) else type(error).__name__
        found.append((kind, p.detach().clone()))
    return found


@check("optimizer", points=4, title="arguments that make no sense", seconds=5)
def bad_arguments_are_refused(student, rng):
    expect_a_lion(student, rng)
    good = [{}, {"betas": (0.0, 0.0)}, {"weight_decay": 0.0}]
    bad = [
        ({"lr": -rng.uniform(0.01, 1)}, "a learning rate below 0"),
        ({"weight_decay": -rng.uniform(0.01, 1)}, "a weight decay below 0"),
        ({"betas": (0.5, 1.0)}, "beta2 = 1"),
        ({"betas": (1.0, 0.5)}, "beta1 = 1"),
        ({"betas": (-rng.uniform(0.01, 1), 0.5)}, "beta1 below 0"),
        ({"betas": (0.5, rng.uniform(1.01, 2))}, "beta2 above 1"),
    ]
    asked = [{"lr": 0.25, **options} for options in good] + [{"lr": 0.0}] + [options for options, _ in bad]
    start, gradient = numbers(rng, 9), spread(rng, 9)
    plain = run(student, [start], [[gradient]], asked[0])[-1][0]
    form = list_of([str, like(start, dtype=None, finite=False)], len(asked))
    found = ask(student, form, drive_arguments, start, gradient, asked)
    kinds, (first, *_) = [kind for kind, _ in found], [p for _, p in found]
    expect(kinds[0] != "nothing" or not close(first, start, 1e-7), STILL)
    expect({*kinds[:3]} == {"nothing"}, "a beta or a weight decay of 0 is allowed, and refused here")
    expect(close(first, plain, 1e-6, 1e-6), AGAIN)
    stays = kinds[3] == "nothing" and same(found[3][1], start)
    expect(stays, "a learning rate of 0 is allowed, and then parameters stay as they are")
    for kind, (_, what) in zip(kinds[4:], bad, strict=True):
        expect(kind != "nothing", f"{what} is accepted: raise a ValueError when the optimizer is made")
        expect(kind == "ValueError", f"{what} must raise a ValueError, and raises {known_kind(kind)}")


def drive_non_leaf(student, start, gradient):
    import torch

    p = torch.nn.Parameter(start.clone())
    lion = student.Lion([p], lr=0.25)
    p.grad = gradient.clone()
    lion.step()
    try:
        student.Lion([torch.nn.Parameter(start.clone()) * 2], lr=0.25)
    except NotImplementedError:
        raise
    except Exception:
        return p.detach().clone(), True
    return p.detach().clone(), False


@check("optimizer", points=1, title="what was computed is no parameter", seconds=5)
def non_leaves_are_refused(student, rng):
    expect_a_lion(student, rng)
    start = numbers(rng, 9)
    gradient = spread(rng, 9)
    p, refused = ask(student, [like(start, dtype=None, finite=False), bool], drive_non_leaf, start, gradient)
    expect_changed(p, start)
    expect(close(p, run(student, [start], [[gradient]], {"lr": 0.25})[-1][0], 1e-6, 1e-6), AGAIN)
    expect(
        refused is True,
        "a tensor that was computed is accepted as a parameter: torch.optim.Optimizer.__init__ refuses it",
    )


def drive_sparse(student, start, gradient, place, options):
    import torch

    params = [torch.nn.Parameter(start.clone()) for _ in range(2)]
    lion = student.Lion(params, **options)
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


@check("optimizer", points=2, title="a sparse gradient is refused", seconds=5)
def sparse_gradients_are_refused(student, rng):
    expect_a_lion(student, rng)
    start, gradient, options = numbers(rng, 9), spread(rng, 9), {"lr": 0.25, "weight_decay": 0.1}
    plain = run(student, [start], [[gradient]], options)[-1][0]
    two = [like(start, dtype=None, finite=False)] * 2
    form = [two, bool, bool, two]
    before, raised, said, after = ask(student, form, drive_sparse, start, gradient, rng.randrange(9), options)
    expect_changed(before[0], start)
    expect(all(close(p, plain, 1e-6, 1e-6) for p in before), AGAIN)
    message = (
        "a sparse gradient is accepted, though the momentum moves all of the parameter: raise an error that says so"
    )
    expect(raised is True, message)
    expect(said is True, "a sparse gradient raises an error without the word sparse: say what is wrong")
    expect(
        all(same(new, old) for new, old in zip(after, before, strict=True)),
        "a sparse gradient raises when some parameters have changed already: look at all gradients first",
    )
