"""Numbers drawn from the generator, and comparisons of what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from cs336lite.course.answers import ORDINARY, ask, close
from cs336lite.course.spec import Fail, StudentError, expect


def normal(rng, *shape: int) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(rng.getrandbits(60)), dtype=torch.float64)


def some_logits(rng, *shape: int) -> Tensor:
    """Logits (..., tokens, experts) in float32; neighbours in size lie 0.25 apart, so that a small step changes no choice.

    Token i likes expert i most, while there are experts: so none is without tokens, which is judged by itself.
    """
    sizes = (0.25 + 0.5 * normal(rng, *shape).abs()).cumsum(-1)
    logits = (sizes - sizes.mean(-1, keepdim=True)).gather(-1, normal(rng, *shape).argsort(-1))
    for i in range(min(shape[-2:])):
        row = logits[..., i, :]
        best = row.argmax(-1, keepdim=True)
        top, own = row.gather(-1, best), row[..., i : i + 1].clone()
        row.scatter_(-1, best, own)
        row[..., i : i + 1] = top
    return logits.float()


def near(answer: Any, expected: Tensor, tolerance: float = 1e-4) -> bool:
    """Nearly equal, in a shape that is the same; never where one is infinite or not a number.

    What comes in 16 bits cannot be nearer than these allow: that it should have more is judged by a check of its own.
    """
    if is_short(answer) and expected.numel():
        return close(answer, expected, ROUGH / 3 * float(expected.abs().max()), ROUGH)
    return close(answer, expected, tolerance, tolerance)


ROUGH = 0.02


def drawn_apart(make: Callable[[], list[Tensor]], loss: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Several logits, whose losses differ from the first's by more than a rounding to 16 bits can hide."""
    while True:
        made = make()
        first, *others = (float(loss(one)) for one in made)
        if all(abs(first - other) > 2 * ROUGH * abs(first) for other in others):
            return made


def is_short(answer: Any) -> bool:
    return isinstance(answer, Tensor) and answer.dtype in (torch.bfloat16, torch.float16)


def coefficient(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The one factor, if there is one, by which all of these (loss, right loss) differ; else 0."""
    factors = [float(loss) / float(right) for loss, right in pairs]
    alike = all(abs(one - factors[0]) <= 1e-3 * abs(factors[0]) for one in factors)
    return factors[0] if alike and factors[0] > 0 else 0.0


COEFFICIENT = (
    "comes multiplied by a number of your own: its coefficient belongs to the training loop, not into the router"
)


def one_number(answer: Any, what: str) -> Tensor:
    single = isinstance(answer, Tensor) and answer.numel() == 1
    expect(single, f"the {what} must be one number for all tokens together")
    return answer.detach().reshape(())


def judge(answer: Any, expected: Tensor, otherwise: str, wrong: Iterable[tuple[Tensor, str]] = ()) -> None:
    """Fail unless ``answer`` is ``expected``, with the message of the misconception that gives this answer.

    Two may give nearly the same by chance: then it is the nearer one, and of those that give the same the first.
    """
    if near(answer, expected):
        return
    expect(not near(answer, torch.zeros_like(expected)), f"the result is 0: {otherwise}")
    found = [(float((answer - reading).abs().sum()), message) for reading, message in wrong if near(answer, reading)]
    if found:
        nearest = min(found)[0] + 1e-6 * float(expected.abs().sum())
        raise Fail(next(message for distance, message in found if distance <= nearest))
    expect(not bool(answer.isnan().any()), f"the result is not a number: {otherwise}")
    raise Fail(otherwise)


def asked(student, form: Any, driver: Callable, *args: Any, problem: str = "", plain: Callable | None = None) -> Any:
    """`ask`; an ordinary exception is the ``problem``, where there is one and the ``plain`` call works."""
    try:
        return ask(student, form, driver, *args)
    except StudentError as error:
        if error.kind == "NoGate":
            message = (
                "no parameter of the router has the shape of a gate: self.gate = nn.Linear(d_model, num_experts, ...)"
            )
            raise Fail(message) from error
        if error.kind == "NoBackward":
            raise Fail(NO_BACKWARD) from error
        if error.kind == "NoTensor":
            raise Fail(SHAPE) from error
        if not problem or not error.is_a(*ORDINARY):
            raise
        if plain is not None:
            plain()
        raise Fail(f"{problem} ({error})") from error


NO_BACKWARD = (
    "the way back fails in autograd: something that the gradient needs has been changed in place, as y *= gate does "
    "with what an expert returns"
)


def known(answer: Tensor, readings: Iterable[Tensor]) -> bool:
    """Whether an answer is what is asked for, or what a misconception makes of it, for which other checks take points."""
    return any(near(answer, reading) for reading in readings)


SHAPE = "dispatch must return a tensor of the shape of x"
