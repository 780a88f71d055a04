r"""Hidden checks of a4_lion: 100 points, judged through the class `Lion` and through `lion_update_foreach_`.

40 points are for what works together: a direction, an update, a training loop and a list of tensors, on ordinary input
and compared with values. The other checks tell what is wrong, and each is for one thing.

A step of Lion is a sign, so what can be seen of momentum and interpolation is where signs turn. Gradients are drawn so that
every usual misconception (which weights, which order, what is kept) gives other signs than the right algorithm and than
every other misconception: the signs of a solution then tell what it does. A solution that climbs, or whose steps have
another size, loses the points of that and not those of the momentum. What an optimizer does with groups, missing
gradients and checkpoints is judged by comparing runs of the same solution.

None of this says anything of what is no Lion at all: each check first asks for some steps, and goes on when they are those
of a Lion with whatever mistake (`look`). Where the class shows none, because it fails or nothing moves, the direction and
the update are looked for in `lion_update_` and `lion_direction`: what is right there is not lost with the class. All
comparing is done here. The student's side only computes: it tells the numbers before and after, and not whether they are
the same.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from cs336lite.course.answers import anything, ask, blame, close, either, like, list_of, same
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

DEFAULTS = (0.9, 0.99)
TINY = 1e-12  # a weight decay that changes no number
LR = 2.0**-5
STILL = (
    "the parameters do not move in the first steps: are they left out, or is p = p - ..., which makes a new tensor, in the "
    "place of a change in place?"
)
AGAIN = "the same steps do not lead to the same parameters: they depend on parameters, gradients and momentum alone"


# ---------------------------------------------------------------------------------------------------------------------
# Asking for the paths of several parameters, through the class


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


def expect_a_parameter(p: Tensor, start: Tensor) -> None:
    expect(isinstance(p, Tensor) and p.shape == start.shape, "a parameter must keep its shape")
    expect(bool(p.isfinite().all()), "parameters become nan or infinite")


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


# ---------------------------------------------------------------------------------------------------------------------
# Asking for the path of one parameter, through the class or through the small functions

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


# ---------------------------------------------------------------------------------------------------------------------
# What the signs of the steps tell

DIRECTIONS = ("right", "beta2", "no complement", "exchanged", "fixed", "gradient", "momentum")
INTERPOLATING = DIRECTIONS[:5]
MOMENTA = (
    *("right", "beta1", "no complement", "exchanged", "fixed", "corrected", "sign", "first gradient"),
    *("never decays", "all gradients", "shared memory", "ones", "parameter"),
)
ELSEWHERE = {"ones": torch.ones_like, "parameter": torch.clone}  # where a momentum begins that does not begin at 0
ORDERS = ("right", "momentum first")
Kind = tuple[str, str, str]


def is_told_apart(kind: Kind) -> bool:
    """Some misconceptions are told by their signs only where nothing else is wrong."""
    direction, momentum, order = kind
    if "fixed" in (direction, momentum):
        return {direction, momentum} <= {"right", "fixed"}
    return momentum not in MOMENTA[-5:] or (direction == order == "right")


KINDS: list[Kind] = [kind for kind in itertools.product(DIRECTIONS, MOMENTA, ORDERS) if is_told_apart(kind)]


def signs(gradients: Tensor, betas: tuple[float, float], kind: Kind, start: Tensor) -> Tensor:
    """The directions, (steps, n), that an algorithm of this kind takes from there when it sees these gradients, (steps, n)."""
    direction, momentum, order = kind
    beta1, beta2 = betas
    kept, taken = {
        "beta1": (beta1, 1 - beta1),
        "no complement": (beta2, 1.0),
        "exchanged": (1 - beta2, beta2),
        "fixed": (DEFAULTS[1], 1 - DEFAULTS[1]),
        "never decays": (1.0, 1 - beta2),
        "all gradients": (1.0, 1.0),
        "shared memory": (beta2 * beta1, beta2 * (1 - beta1) + 1 - beta2),  # it has become the direction meanwhile
    }.get(momentum, (beta2, 1 - beta2))
    of_old, of_new = {
        "right": (beta1, 1 - beta1),
        "beta2": (beta2, 1 - beta2),
        "no complement": (beta1, 1.0),
        "exchanged": (1 - beta1, beta1),
        "fixed": (DEFAULTS[0], 1 - DEFAULTS[0]),
        "gradient": (0.0, 1.0),
        "momentum": (1.0, 0.0),
    }[direction]
    begun = {"first gradient": lambda p: gradients[0].double(), **ELSEWHERE}.get(momentum, torch.zeros_like)
    m = begun(start.double())
    found = []
    for step, g in enumerate(gradients.double()):
        new = kept * m + taken * (g.sign() if momentum == "sign" else g)
        steps = step + (order == "momentum first")  # that the momentum has seen
        old = new if order == "momentum first" else m
        if momentum == "corrected" and steps:
            old = old / (1 - beta2**steps)
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
        betas, gradients, start = some_betas(rng), spread(rng, 6, 400), numbers(rng, 400)
        answers = torch.stack([signs(gradients, betas, kind, start) for kind in KINDS]).to(torch.int8)
        patterns = {kind: answer.numpy().tobytes() for kind, answer in zip(KINDS, answers, strict=True)}
        seen = [patterns[kind] for kind in KINDS if kind[0] in INTERPOLATING]
        # The sign of the new momentum is an interpolation too, by the weights of the momentum.
        others = {patterns[kind] for kind in KINDS if kind[0] == "gradient" or kind[::2] == ("momentum", "right")}
        if len(set(seen)) == len(seen) and not others & set(seen):
            return Question(start, gradients, betas, answers)


ALONE = "the direction is the sign of the {} alone: interpolate momentum and gradient by beta1"
NO_LION = (
    "the steps are not by lr along the sign of momentum and gradient, weighed by beta1, nor nearly so: "
    "until they are, nothing else can be judged"
)
FORGOTTEN = {
    "nothing kept": (
        "the momentum stays 0, so the direction is the sign of the gradient alone: change the momentum in "
        "self.state[p] in place, or put the new one back; momentum = ... or momentum.mul(...) only makes a new tensor"
    ),
    "begun anew": (
        "the momentum begins at 0 again in each step, so the direction is the sign of the gradient alone: make it only "
        "when self.state[p] has none"
    ),
}


@dataclass(frozen=True)
class Look:
    """What a solution shows of a Lion, perhaps with mistakes."""

    via: str
    kinds: tuple[Kind, ...]  # the kinds of algorithm that step as this solution does, or exactly against that
    no_decay: float  # a weight decay that has no effect: 0, or a tiny one where 0 is refused
    betas: tuple[float, float]  # those by which it was looked at
    still: bool = False  # nothing moves, though a momentum is kept
    forgotten: str = ""  # how the momentum is lost between steps
    by_its_own: tuple[bool, bool] = (False, False)  # goes by beta1 from what it keeps before a step; from after it
    keeps: bool = False  # keeps what the momentum should be
    mixes: bool = False  # goes by other weights of that and the gradient, perhaps below 0
    shrinks: bool = False  # parameters are multiplied by 1 - lr in each step, whatever the weight decay is

    @property
    def is_whole(self) -> bool:
        return not self.still and not self.forgotten

    @property
    def direction_is_right(self) -> bool:
        return any(self.by_its_own) or any(kind[0] == "right" for kind in self.kinds)

    @property
    def momentum_is_right(self) -> bool:
        told = [kind for kind in self.kinds if kind[0] in INTERPOLATING]
        return any(kind[1] == "right" for kind in told) if told else self.keeps

    @property
    def order_is_right(self) -> bool:
        return self.by_its_own[0] or any(kind[0] in INTERPOLATING and kind[2] == "right" for kind in self.kinds)

    def options(self, **changed) -> dict:
        return {"lr": LR, "betas": self.betas, "weight_decay": self.no_decay, **changed}

    def walk(self, student, start: Tensor, gradients: list[Tensor] | Tensor, options: dict) -> Walk:
        """In the way that was looked at, and without what is wrong with its decay, which is judged for itself."""
        found = walk(student, self.via, start, gradients, options)
        return found.without_shrinking(options["lr"]) if self.shrinks else found


def look_at(student, via: str, question: Question) -> Look:
    """Raises Fail for what is no Lion."""
    seen = Look(via, (), 0.0, question.betas)
    try:
        found = walk(student, via, question.start, question.gradients, seen.options())
    except StudentError as error:
        if not error.is_a("ValueError"):
            raise
        seen = replace(seen, no_decay=TINY)  # 0 may be what is refused, and that is another check's affair
        found = walk(student, via, question.start, question.gradients, seen.options())
    undone = found.without_shrinking(LR)
    if even(undone.steps) and not even(found.steps):
        seen, found = replace(seen, shrinks=True), undone
    steps, g = found.steps, found.gradients
    beta1, beta2 = question.betas
    m = momenta_of(g, beta2, 1 - beta2, torch.zeros_like(g[0]))
    seen = replace(seen, keeps=any(close(kept, m, 1e-4, 1e-4) for kept in found.kept))
    if found.still:
        expect(seen.keeps, STILL)
        return replace(seen, still=True)
    if goes_like(steps, g):
        # the sign of the gradient alone: still a Lion with a mistake when it has a momentum
        expect(even(steps), NO_LION)
        anew = [w * g for w in (1 - beta2, 1.0, beta2)]
        for kept in found.kept:
            if close(kept, torch.zeros_like(kept), 1e-9):
                return replace(seen, forgotten="nothing kept")
            if any(close(kept[1:], one, 1e-4, 1e-4) for one in anew):
                return replace(seen, forgotten="begun anew")
        expect(seen.keeps, ALONE.format("gradient"))
    own = [
        any(goes_like(steps, beta1 * kept[moment] + (1 - beta1) * g) for kept in found.kept if bool(kept.any()))
        for moment in (slice(0, -1), slice(1, None))
    ]
    seen = replace(seen, by_its_own=(own[0] and not goes_like(steps, g), own[1] and not goes_like(steps, g)))
    lion = any(seen.by_its_own) and even(steps)
    told = signs_of(steps).to(torch.int8)
    begun = [kind for kind, answer in zip(KINDS, question.answers, strict=True) if begins_elsewhere(kind, answer, told)]
    lion = lion or bool(begun)
    if seen.keeps and even(steps) and mixes(steps, m[:-1], g):
        lion, seen = True, replace(seen, mixes=True)
    expect(lion or (seen.keeps and goes_like(steps, g)) or follows_a_momentum(steps, g, question.betas), NO_LION)
    alike = [(question.answers == way).flatten(1).all(1) for way in (told, -told)]
    kinds = [k for k, one, other in zip(KINDS, *alike, strict=True) if one or other]
    return replace(seen, kinds=tuple(kinds or begun))


def begins_elsewhere(kind: Kind, answer: Tensor, told: Tensor) -> bool:
    """Whether steps are those of a momentum that does not begin at 0; in float32 some directions are near enough to 0."""
    return kind[1] in ELSEWHERE and max(float((answer == way).double().mean()) for way in (told, -told)) > 0.99


looked: WeakKeyDictionary = WeakKeyDictionary()
"""What was seen of each student, by the way in which it was looked at: a `Look`, or why it is none."""
FLEETING = ("TimeLimit", "MemoryLimit", "Died")  # worth another question


def look(student, rng: random.Random, *ways: str) -> Look:
    """What a solution shows of a Lion, in the first of these ways in which all is there; a student is asked once.

    Fails unless it is a Lion, perhaps with mistakes: of anything else the rest says nothing.
    """
    question = random.Random(rng.getrandbits(64))
    known, found = looked.setdefault(student, {}), []
    for via in ways:
        if via not in known:
            try:
                known[via] = look_at(student, via, telling(question))
            except (Fail, StudentError) as problem:
                if isinstance(problem, StudentError) and problem.kind in FLEETING:
                    raise
                known[via] = problem
        found.append(known[via])
        if isinstance(known[via], Look) and known[via].is_whole:
            return known[via]
    seen = next((one for one in found if isinstance(one, Look)), None)
    if seen is not None:
        return seen
    problem = found[0]
    if isinstance(problem, StudentError):
        raise StudentError(problem.kind, str(problem), problem.kinds)
    raise Fail(str(problem)).with_traceback(problem.__traceback__)  # that of the place whose words these are


def expect_no_loss(seen: Look) -> None:
    """Nothing can be said of a direction or a momentum where none comes of it."""
    expect(not seen.still, STILL)
    if seen.forgotten:
        raise Fail(FORGOTTEN[seen.forgotten])


def expect_interpolated(seen: Look) -> None:
    """Two of the misconceptions leave little to be seen of the rest."""
    expect_no_loss(seen)
    if any(kind[0] in INTERPOLATING for kind in seen.kinds):
        return
    for alone in ("gradient", "momentum"):
        expect(not any(kind[0] == alone for kind in seen.kinds), ALONE.format(alone))


SWAPPED = "beta1 and beta2 are swapped: beta1 is for the direction, beta2 for the momentum"


def expect_not_swapped(seen: Look) -> None:
    expect(not any(kind[:2] == ("beta2", "beta1") for kind in seen.kinds), SWAPPED)


# ---------------------------------------------------------------------------------------------------------------------
# Ordinary input, and where it leads


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


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 1: direction

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


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 2: update

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


# ---------------------------------------------------------------------------------------------------------------------
# Exercise 4: optimizer. Runs of one solution are compared with each other, so its rule need not be quite right.


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
            p.grad = gradient.to(dtype)
            lion.step()
        kept = [v.detach() for v in lion.state[p].values() if isinstance(v, torch.Tensor) and v.shape == p.shape]
        found.append((p.detach().clone(), kept))
    return found


@check("optimizer", points=1, title="parameters and momenta keep their dtype", seconds=5)
def dtypes_are_kept(student, rng):
    seen = look(student, rng, CLASS)
    start, gradient, options = numbers(rng, 20), spread(rng, 20), seen.options(lr=0.25)
    plain = run(student, [start], [[gradient]] * 2, options)[-1][0]
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
