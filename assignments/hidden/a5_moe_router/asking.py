"""Asking the router: in whatever form it answers, and with whatever coefficient of its own."""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from cs336lite.course.answers import ORDINARY, anything, ask, close, either, like, list_of, some_tensor
from cs336lite.course.spec import Fail, StudentError, expect

from .drivers import drive_router
from .inputs import asked, coefficient, is_short, near, normal, one_number, some_logits
from .readings import balance_of, gates_of, wrong_gates, z_readings


def one_factor(student, rng, field: str) -> float:
    """The number, if there is one, that a loss is always the right one times, other than 1; else 0."""
    pairs = []
    for k, experts, n in ((1, 5, 9), (2, 6, 16), (3, 8, 12)):  # what depends on one of these is no coefficient
        logits = some_logits(rng, n, experts) + 2 * normal(rng, n, 1).float()
        (said,) = route(student, k, logits, need=[field])
        value = said.balance if field == ONE else said.z
        right = balance_of(logits, said.chosen(logits, k), None).right if field == ONE else z_readings(logits)[0]
        pairs.append((one_number(value, field), right))
    factor = coefficient(pairs)
    return factor if abs(factor - 1) > 0.01 else 0.0


MOST = 10_000  # numbers in a tensor, whatever its shape: what is asked for has some hundreds
FIELDS = ("weights", "indices", "logits", "load_balancing_loss", "z_loss")
ONE, Z = FIELDS[3:]


class Said(NamedTuple):
    """What a router says of some tokens, the tokens afterwards, and the gradients asked for."""

    weights: Tensor | None
    indices: Tensor | None
    logits: Tensor | None
    balance: Tensor | None
    z: Tensor | None
    x: Tensor
    gradients: list

    def chosen(self, logits: Tensor, k: int) -> Tensor:
        """The experts that the solution has chosen, or the right ones where it does not name k different ones."""
        shape, indices = (*logits.shape[:-1], k), self.indices
        known = indices is not None and indices.numel() == logits[..., :k].numel() and bool(indices.isfinite().all())
        known = known and bool(((indices >= 0) & (indices < logits.shape[-1])).all())
        if known:
            indices = indices.reshape(shape).long()
            known = bool((indices.sort(-1).values.diff(dim=-1) > 0).all())
        return indices if known else logits.topk(k, -1).indices

    def like(self, x: Tensor) -> Said:
        """The same, with the dimensions of ``x`` in front."""

        def shaped(part: Tensor | None) -> Tensor | None:
            right = part is not None and part.shape[:-1] == in_the_other_form(x).shape[:-1]
            return part.reshape(*x.shape[:-1], part.shape[-1]) if right else part

        parts = (shaped(part) for part in (self.weights, self.indices, self.logits))
        gradients = [[shaped(of_x), of_gate] for of_x, of_gate in self.gradients]
        return Said(*parts, self.balance, self.z, shaped(self.x), gradients)

    def lost(self) -> list[str]:
        """The fields that are not there."""
        return [name for name, part in zip(FIELDS, self[:5], strict=True) if part is None]


def route(student, k: int, *logits: Tensor, need: Iterable[str], problem: str = "", **options: Any) -> list[Said]:
    """What is said of tokens with these logits."""
    need, scales = list(need), mirrored(logits[0].shape[-1])
    times = own_scale(student, logits[0], need)
    xs = [(one / scales / times).flip(-1) for one in logits]
    return said_of(student, torch.diag(scales).flip(-1), k, xs, need=need, problem=problem, **options)


scales_seen: WeakKeyDictionary = WeakKeyDictionary()
"""For each student, by the number of experts: the fields that are made of scaled logits, and by what they are scaled."""


def own_scale(student, logits: Tensor, need: list[str]) -> float:
    """By what a solution multiplies the logits before it makes of them what is needed; 1 where nothing says that it does.

    A router that scales its logits, as attention does, loses the points of the logits, and one that scales them before
    its softmax those of the gates. What is made of them afterwards is judged with tokens that make up for the scale.
    Asked once for each number of experts, with tokens that are drawn anew: ``logits``, of a check, are what they follow.
    """
    known, experts = scales_seen.setdefault(student, {}), logits.shape[-1]
    if experts not in known:
        known[experts] = scales_of(student, experts, random.Random(repr(logits.flatten().tolist())))
    return next((known[experts][field] for field in need if field in known[experts]), 1.0)


def scales_of(student, experts: int, rng) -> dict[str, float]:
    scales, logits = mirrored(experts), some_logits(rng, 9, experts)
    weight, x = torch.diag(scales).flip(-1), (logits / scales).flip(-1)
    try:
        (said,) = said_as_given(student, weight, min(2, experts), [x], need=["logits"])
    except (Fail, StudentError) as problem:
        if isinstance(problem, StudentError) and not problem.is_a(*ORDINARY):
            raise
        return {}  # told where it is asked for
    h, indices, found = logits.double(), said.chosen(logits, min(2, experts)), {}
    of_gates = times_of(said.weights, h.gather(-1, indices)) if said.weights is not None else 1.0
    of_logits = coefficient([(said.logits.double().norm(), h.norm())])
    of_logits = of_logits if of_logits and near(said.logits, of_logits * h) and abs(of_logits - 1) > 0.01 else 1.0
    if of_logits != 1 and abs(of_gates / of_logits - 1) < 0.01:
        found["weights"] = of_logits
    for times in {of_gates, of_logits} - {1.0}:
        if said.balance is not None and near(said.balance, balance_of(times * h, indices, None).right):
            found[ONE] = times
        if said.z is not None and near(said.z, z_readings(times * h)[0]):
            found[Z] = times
    return {field: times for field, times in found.items() if 0.05 < times < 20}


def times_of(gates: Tensor, h: Tensor) -> float:
    """The number by which logits have been multiplied where gates are a softmax of them; 1 where it is 1, or there is none."""
    if gates.shape != h.shape or h.shape[-1] < 2 or not bool((gates > 0).all()):
        return 1.0
    times = gates.double().log().diff(dim=-1) / h.diff(dim=-1)
    mean = float(times.mean())
    return mean if abs(mean - 1) > 0.01 and near(times, times.mean().expand(times.shape), 1e-2) else 1.0


def mirrored(experts: int) -> Tensor:
    """Powers of 2 with either sign, the same read from behind: a gate the wrong way round is judged by itself."""
    sizes = torch.tensor([2.0, -0.5, 1.0, -2.0, 0.5, -1.0])
    return torch.stack([sizes[min(e, experts - 1 - e) % len(sizes)] for e in range(experts)])


def said_of(student, weight: Tensor, k: int, xs: list[Tensor], convert: str = "", **asked_for: Any) -> list[Said]:
    """What a router with this gate.weight says of each x; the fields in ``need`` are there.

    A router that takes tokens in one form alone, (tokens, d_model) or (batch, seq, d_model), gets them so: which forms it
    takes is judged by the checks that give both.
    """
    try:
        return said_as_given(student, weight, k, xs, convert, **asked_for | {"problem": ""})
    except StudentError as error:
        others = [in_the_other_form(x) for x in xs]
        alike = len({x.dim() for x in xs}) == 1 and others[0] is not None and not asked_for.get("strided")
        if error.is_a(*ORDINARY) and alike:
            with suppress(StudentError):
                said = said_as_given(student, weight, k, others, convert, **asked_for | {"problem": ""})
                return [one.like(x) for one, x in zip(said, xs, strict=True)]
        if not asked_for.get("problem"):
            raise
        return said_as_given(student, weight, k, xs, convert, **asked_for)


def in_the_other_form(x: Tensor) -> Tensor | None:
    """Tokens (tokens, d_model) as one text, and those of several texts one after another."""
    if x.dim() == 2:
        return x[None]
    return x.flatten(0, 1) if x.dim() == 3 else None


def said_as_given(
    student,
    weight: Tensor,
    k: int,
    xs: list[Tensor],
    convert: str = "",
    *,
    need: Iterable[str],
    slopes: dict[str, Tensor] | None = None,
    strided: bool = False,
    problem: str = "",
    **options: Any,
) -> list[Said]:
    slopes, some = slopes or {}, either(type(None), some_tensor(MOST))
    of_weight = [like(one, dtype=None, finite=False) for one in (weight, weight.mT)]
    pair = [either(type(None), like(xs[0], dtype=None, finite=False)), either(type(None), *of_weight)]
    form = list_of(((some,) * 5 + (some_tensor(MOST), list_of(pair, len(slopes)))), len(xs))

    def plain() -> None:
        count = xs[0].numel() // weight.shape[1]  # as many tokens, and each likes an expert of its own
        tokens = weight.float()[torch.arange(count) % len(weight)] + 0.3 * torch.arange(1.0, weight.shape[1] + 1).sin()
        flat = {field: factor.flatten(0, -2) if factor.dim() else factor for field, factor in slopes.items()}
        top_k = k if flat else min(2, len(weight))
        ask(student, anything, drive_router, weight.float(), top_k, options, [tokens], "", list(need), flat, False)

    rest = (weight, k, options, [x.clone() for x in xs], convert, list(need), slopes, strided)
    answers = asked(student, form, drive_router, *rest, problem=problem, plain=plain)
    said = [in_order(Said(*answer), x, weight, k) for answer, x in zip(answers, xs, strict=True)]
    for one in said:
        for field in need:
            lost = f"what forward returns has no {field}, or None there: is a return missing?"
            expect(field not in one.lost(), lost)
    return said


def in_order(said: Said, x: Tensor, weight: Tensor, k: int) -> Said:
    """The same, with the losses exchanged where that makes both right: their order is judged by itself."""
    if said.balance is None or said.z is None or said.balance.numel() != 1 or said.z.numel() != 1:
        return said
    logits = (x.double() @ weight.double().mT).reshape(-1, len(weight))
    balance = balance_of(logits, said.chosen(logits, k), None).right.reshape(())
    z = z_readings(logits)[0].reshape(())
    one, other = said.balance.reshape(()), said.z.reshape(())
    exchanged = near(one, z) and near(other, balance) and not near(one, balance)
    return said._replace(balance=said.z, z=said.balance, gradients=said.gradients[::-1]) if exchanged else said


def fits_gradient(gradient: Tensor, expected: Tensor, short: bool = False) -> bool:
    """Whether a gradient is the expected one, to 2 percent; of what has 16 bits, whether it points the same way."""
    if not short:
        return close(gradient, expected, 2e-3 * float(expected.abs().max()), 0.02)
    if gradient.shape != expected.shape or not bool(gradient.isfinite().all()):
        return False
    one, other = gradient.flatten().double(), expected.flatten().double()
    return bool(one @ other > 0.9 * one.norm() * other.norm()) and bool(0.5 < one.norm() / other.norm() < 2)


class Learning(NamedTuple):
    """A field of what a router says, as [tokens, ...], its gradients, and what both are compared with."""

    value: Tensor
    indices: Tensor  # that the solution has chosen
    of_x: Tensor | None
    of_weight: Tensor | None
    inputs: list[Tensor]  # x and gate.weight in float64, with gradients
    logits: Tensor  # of them, as [tokens, experts]
    factor: Tensor
    short: bool  # whether it, or the logits it comes from, has 16 bits: `router` takes points for that

    def fits(self, reading: Tensor) -> bool:
        """Whether the gradients are those of a reading of the value."""
        total = (reading * self.factor).sum()
        if not total.requires_grad or self.of_x is None or self.of_weight is None:
            return False
        for_x, for_weight = torch.autograd.grad(total, self.inputs, retain_graph=True)
        either_way = (
            for_weight,
            for_weight.mT,
        )  # the weight is symmetric: a gate the other way round is judged by itself
        if not fits_gradient(self.of_x, for_x, self.short):
            return False
        return any(fits_gradient(self.of_weight, one, self.short) for one in either_way)


def uneven_logits(rng, *front: int) -> Tensor:
    """`some_logits` for six experts; in several texts some experts get more tokens than others, and in each text others."""
    while True:
        logits = some_logits(rng, *front, 6).double()
        if len(front) > 1:
            logits[..., 6:, 3:] += 3 * normal(rng, *front[:-1], 1, 3)
        if bool((logits.sort(-1).values.diff(dim=-1) > 0.15).all()):  # else rounding to 16 bits may change a choice
            return logits


def symmetric_weight(rng) -> Tensor:
    """A gate for six experts, far from singular: else x would be large, and rounded to 16 bits give quite other logits."""
    while True:
        part = 0.1 * normal(rng, 6, 6)
        weight = torch.eye(6, dtype=torch.float64) + part + part.mT
        if float(torch.linalg.eigvalsh(weight)[0]) > 0.3:
            return weight


def learning(student, rng, field: str, k: int, *front: int, problem: str = "", **options: Any) -> Learning:
    """A field for tokens in these dimensions, and its gradients."""
    weight = symmetric_weight(rng)
    logits = uneven_logits(rng, *front)
    x = torch.linalg.solve(weight, logits.reshape(-1, 6).mT).mT.reshape(logits.shape)  # so that the logits are these
    times = own_scale(student, logits, [field])
    x, weight = (x / times).float(), weight.float()
    gates = normal(rng, *front, k).float()
    slopes = {field: gates} if field == "weights" else {ONE: torch.ones(()), Z: torch.ones(())}
    (said,) = said_of(student, weight, k, [x], need=[field], slopes=slopes, problem=problem, **options)
    inputs = [tensor.double().requires_grad_() for tensor in (x, weight)]
    logits = times * (inputs[0] @ inputs[1].mT).reshape(-1, 6)
    indices = said.chosen(logits.detach(), k)
    if field == "weights":
        expect(said.weights.numel() == indices.numel(), "weights must have the shape (..., k), as indices")
        value, factor, gradients = said.weights.reshape(-1, k), gates.reshape(-1, k), said.gradients[0]
    else:
        value, gradients = (said.balance, said.gradients[0]) if field == ONE else (said.z, said.gradients[1])
        value, factor = one_number(value, field), torch.ones(())
    short = is_short(value) or is_short(said.logits)
    return Learning(value, indices, *gradients, inputs, logits, factor, short)


def judge_router_gradients(student, rng, field: str, k: int, missing: str, wrong: str, **options: Any) -> None:
    """The gradients of a field, for x and for gate.weight: those of the definition, or of what the value is known for."""
    one = learning(student, rng, field, k, 7, **options)
    readings = field_readings(field, one.logits, one.indices, options.get("renormalize", True))
    known_for = [reading for reading in readings if near(one.value, reading.detach())]
    if not known_for and field != "weights" and (factor := one_factor(student, rng, field)):
        known_for = [readings[0] * factor]
    expect(len(known_for) > 0, f"its gradient is judged where the value of {field} is right, or wrong in a usual way")
    for gradient in (one.of_x, one.of_weight):
        expect(gradient is not None and bool((gradient != 0).any()), missing)
    expect(any(one.fits(reading) for reading in known_for), wrong)


WHY = "the checks above say why, where one of them fails"
FRONT = "the router fails for x of the shape (batch, seq, d_model)"


def field_readings(field: str, logits: Tensor, indices: Tensor, renormalize: bool) -> list[Tensor]:
    """What a field may be, as functions of the logits: what it should be, and what misconceptions make of it."""
    p = gates_of(logits, indices)
    divided = p / p.sum(-1, keepdim=True)
    if field == "weights":
        right, other = (divided, p) if renormalize else (p, divided)
        return [right, other, *(value for value, _ in wrong_gates(logits, indices))]
    if field == ONE:
        return balance_of(logits, indices, divided).all
    right, wrong = z_readings(logits)
    return [right, *(value for value, _ in wrong)]
