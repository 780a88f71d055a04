"""What the signs of the steps tell: gradients for which each misconception has signs of its own."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from cs336lite.course.answers import close
from cs336lite.course.spec import Fail, StudentError, drawn, expect

from .asking import Walk, numbers, some_betas, spread, walk
from .lion import DEFAULTS, LR, STILL, TINY, even, follows_a_momentum, goes_like, mixes, momenta_of, signs_of

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
