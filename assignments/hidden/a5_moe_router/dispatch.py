"""What `dispatch` asks for: each token to its experts and back, with its gates.

Its time is judged in `dispatch_calls`, and special cases in `dispatch_corners`.

It is long because it begins with the experts and the ways of asking of all three files.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cs336lite.course.answers import ORDINARY, anything, ask, either, like, list_of, some_tensor
from cs336lite.course.spec import StudentError, expect

from .asking import MOST, WHY, fits_gradient, in_the_other_form
from .at_random import check
from .inputs import SHAPE, asked, judge, near, normal


def drive_dispatch(student, jobs, matrices, offsets, crowd, lift, strided=False):
    """For each (x, weights, indices): the result, the calls of experts, and the arguments as they are then.

    Expert e is z -> z @ matrices[e] + offsets[e], plus the sum of ``lift`` + z over all rows, @ crowd[e]. A call is noted
    as [e, shape, dtype].
    """
    answers = []
    for job in jobs:
        calls = []
        if strided:
            job = [tensor.transpose(0, 1).contiguous().transpose(0, 1) for tensor in job]

        def expert(e, calls=calls):
            def compute(z):
                calls.append([e, list(z.shape), str(z.dtype).removeprefix("torch.")])
                y = z @ matrices[e].to(z.dtype) + offsets[e].to(z.dtype)
                if crowd is None:
                    return y
                return y + (lift + z.reshape(-1, z.shape[-1])).sum(0) @ crowd[e].to(z.dtype)

            return compute

        out = student.dispatch(*job, [expert(e) for e in range(len(matrices))])
        answers.append((out, calls, list(job)))
    return answers


def drive_dispatch_gradients(student, x, weights, indices, first, second, factor):
    """The result, and the gradients of x, weights and the experts, or None: of the result times ``factor``.

    Expert e is z -> tanh(z @ first[e]), and then @ second[e] where there is a second.
    """
    import torch

    class NoBackward(Exception):
        pass

    class NoTensor(Exception):
        pass

    x, weights, first = inputs = [tensor.clone().requires_grad_() for tensor in (x, weights, first)]

    def expert(e):
        if second is None:
            return lambda z: (z @ first[e]).tanh()
        return lambda z: (z @ first[e]).tanh() @ second[e]

    out = student.dispatch(x, weights, indices.clone(), [expert(e) for e in range(len(first))])
    if not isinstance(out, torch.Tensor) or out.numel() != factor.numel():
        raise NoTensor
    if out.requires_grad:
        try:
            (out * factor.reshape(out.shape)).sum().backward()
        except RuntimeError as error:
            if "inplace" not in str(error):
                raise
            raise NoBackward from error
    return out.detach(), [tensor.grad for tensor in inputs]


class Experts(NamedTuple):
    """Affine maps; the offset lets a gate before an expert be told from one after it.

    With ``crowd`` what an expert returns for a token depends on all rows that it is called with: on their sum, when
    ``lift`` is 0, on their number too when it is not.
    """

    matrices: Tensor
    offsets: Tensor
    crowd: Tensor | None = None
    lift: float = 0.0

    def of(self, x: Tensor, e: int) -> Tensor:
        return x.double() @ self.matrices[e].double() + self.offsets[e].double()


def some_experts(rng, number: int, d_model: int = 3) -> Experts:
    return Experts(normal(rng, number, d_model, d_model).float(), 2 * normal(rng, number, d_model).float())


def combined(x: Tensor, weights: Tensor, indices: Tensor, experts: Experts) -> Tensor:
    """What dispatch must return for x (tokens, d_model), token by token."""
    rows = []
    for token, gates, chosen in zip(x, weights.double(), indices.tolist(), strict=True):
        rows.append(sum(gate * experts.of(token, e) for gate, e in zip(gates, chosen, strict=True)))
    return torch.stack(rows)


Job = tuple[Tensor, Tensor, Tensor]  # x, weights, indices


class Done(NamedTuple):
    """What dispatch returned, the calls of experts (which, shape, dtype), and its arguments afterwards."""

    out: Tensor
    calls: list
    job: list

    def tokens(self) -> Done:
        """The same of the tokens of one text alone."""
        first, *rest = [
            part[0] if isinstance(part, Tensor) and part.dim() == 3 else part for part in (self.out, *self.job)
        ]
        return Done(first, self.calls, rest)

    @property
    def rows(self) -> list[list[int]]:
        """[expert, rows] of each call that had any."""
        return [[e, shape[0]] for e, shape, _ in self.calls if shape and shape[0]]


CALL = [int, list_of(int, least=0, most=8), str]
DONE = (
    anything,
    list_of(CALL, least=0, most=MOST),
    [anything] * 3,
)  # other results than tensors have their own message


def carry(student, experts: Experts, *jobs: Job, strided: bool = False, problem: str = "") -> list[Done]:
    """The results for each (x, weights, indices), sure that experts were asked."""

    def plain() -> None:
        job = torch.ones(4, len(experts.offsets[0])), torch.ones(4, 2), torch.tensor([[0, 1], [1, 0]] * 2)
        twins = experts.matrices[:1].expand(2, -1, -1).clone(), experts.offsets[:1].expand(2, -1).clone()
        ask(student, anything, drive_dispatch, [job], *twins, None, 0.0)

    def answers_to(*jobs: Job) -> list[Done]:
        given = [tuple(tensor.clone() for tensor in job) for job in jobs]
        form = list_of(DONE, len(jobs))
        answers = asked(student, form, drive_dispatch, given, *experts, strided, problem=problem, plain=plain)
        return [Done(*answer) for answer in answers]

    try:
        done = answers_to(*jobs)
    except StudentError as error:  # of what takes nothing but (batch, seq, d_model), which is judged by itself
        if not error.is_a(*ORDINARY) or any(job[0].dim() != 2 for job in jobs):
            raise
        done = []
        with suppress(StudentError):
            done = [one.tokens() for one in answers_to(*(tuple(tensor[None] for tensor in job) for job in jobs))]
        if not done:
            raise
    for one, (x, _, _) in zip(done, jobs, strict=True):
        expect(one.out is not None, "dispatch returned None: is a return missing?")
        expect(isinstance(one.out, Tensor) and one.out.numel() <= MOST, SHAPE)
        expect(len(one.calls) > 0, "no expert is called")
        expect(bool(one.out.isfinite().any()), "the result is not a number anywhere")
        expect(not near(one.out, torch.zeros_like(x)), "the result is 0: what the experts return is not used")
        expect(not near(one.out, x), "the result is x: what the experts return is not used")
    return done


def multiple(out: Any, right: Tensor) -> float:
    """By what a result is the right one multiplied, in whatever order of tokens; 0 when it is something else.

    Order and factors are judged by themselves.
    """
    if not isinstance(out, Tensor) or out.shape != right.shape or not bool(out.isfinite().all()):
        return 0.0
    factor = float(out.double().norm() / right.norm())
    alike = factor > 0 and near(out.double().sort(0).values / factor, right.sort(0).values)
    return factor if alike else 0.0


def resembles(out: Any, right: Tensor) -> bool:
    """Whether a result is the right one but for the order of tokens and a factor."""
    return multiple(out, right) > 0


def expect_a_dispatch(student, rng) -> None:
    """Fail for what does not give tokens to their experts at all; to be asked where a part of it is judged."""
    experts, x, indices = some_experts(rng, 4), normal(rng, 12, 3).float(), mixed(rng, 12, 4)
    (done,) = carry(student, experts, (x, torch.ones(12, 1), indices))
    right = torch.baddbmm(
        experts.offsets[indices].double(), x[:, None].double(), experts.matrices[indices[:, 0]].double()
    )
    expect(done.out.shape == x.shape, SHAPE)
    message = "tokens do not get what their own expert returns, even with one expert for each and a gate of 1"
    expect(resembles(done.out, right[:, 0]), message)


def twins(experts: Experts, number: int) -> Experts:
    """The first of some experts, many times over."""
    return Experts(experts.matrices[:1].expand(number, -1, -1).clone(), experts.offsets[:1].expand(number, -1).clone())


def alike(rng, n: int, d_model: int = 3) -> Tensor:
    """The same token n times, so that their order does not matter."""
    return normal(rng, 1, d_model).float().expand(n, d_model).clone()


def mixed(rng, n: int, experts: int) -> Tensor:
    """(n, 1): each expert several times, mixed so that sorting them two or three times over leads nowhere back."""
    numbers = torch.tensor([i % experts for i in range(n)])
    while True:
        numbers = numbers[rng.sample(range(n), n)]
        order = numbers.argsort(stable=True)
        if not any(torch.equal(power, torch.arange(n)) for power in (order, order[order], order[order][order])):
            return numbers[:, None]


@check("dispatch", points=2, title="every token gets its own result back", seconds=5)
def order_is_kept(student, rng):
    experts, x, indices = some_experts(rng, 4), normal(rng, 12, 3).float(), mixed(rng, 12, 4)
    weights = torch.ones(12, 1)
    (done,) = carry(student, experts, (x, weights, indices))
    expect(done.out.shape == x.shape, SHAPE)
    right = combined(x, weights, indices, experts)
    order = indices[:, 0].argsort(stable=True)
    wrong = [
        (right[order], "the results come in the order of the experts: carry each one back to where its token stands"),
        (
            right[order][order],
            "the results are carried back by the order itself: it takes the inverse of the permutation",
        ),
        (right / 4, "the results are divided by the number of experts"),
    ]
    judge(done.out, right, "tokens do not get the result of their own expert", wrong)


@check("dispatch", points=2, title="the results of a token's experts add up", seconds=5)
def results_add_up(student, rng):
    experts, x = some_experts(rng, 2), alike(rng, 6)
    pair = rng.sample(range(2), 2)
    (done,) = carry(student, experts, (x, torch.ones(6, 2), torch.tensor([pair] * 6)))
    expect(done.out.shape == x.shape, SHAPE)
    one, other = (experts.of(x, e) for e in pair)
    overwritten = "only one of a token's experts is left: add up what all of them return, let none be written over"
    wrong = [
        (one, overwritten),
        (other, overwritten),
        ((one + other) / 2, "the results of a token's experts are averaged: add them up, with their gates"),
        (2 * (one + other), "each result is counted twice"),
    ]
    if not near(done.out.sum(0), (one + other).sum(0)):  # else they are added up, if for another token: judged above
        judge(done.out, one + other, "the results of a token's experts are not added up", wrong)
    expect_a_dispatch(student, rng)

    k, x = rng.choice((2, 3)), normal(rng, 8, 3).float()  # tokens of their own, and experts that are all the same
    indices = (mixed(rng, 8, 4) + torch.arange(k)) % 4
    jobs = [(x, torch.ones(8, n), indices[:, :n]) for n in (1, k)]
    single, several = carry(student, twins(experts, 4), *jobs)
    one, right = experts.of(x, 0), k * experts.of(x, 0)
    message = (
        "with k > 1 tokens get results of other tokens: of k * tokens assignments in a row, number a is of token a // k "
        "where a token's stand together"
    )
    if near(single.out, one) and near(
        several.out.sum(0), right.sum(0)
    ):  # else the order, or a factor: judged by itself
        expect(resembles(several.out, right), message)
    (done,) = carry(student, some := some_experts(rng, 4), jobs[1])
    other = combined(x, torch.ones(8, k), indices.flatten().view(k, 8).T, some)  # number a is of token a % tokens
    expect(not near(done.out, other), message)


@check("dispatch", points=2, title="each result is multiplied with its own gate", seconds=5)
def gates_multiply_results(student, rng):
    experts, x = some_experts(rng, 1), alike(rng, 8)
    gate = rng.uniform(0.2, 0.6)
    (done,) = carry(student, experts, (x, torch.full((8, 1), gate), torch.zeros(8, 1, dtype=torch.int64)))
    expect(done.out.shape == x.shape, SHAPE)
    y = experts.of(x, 0)
    wrong = [
        (y, "the gates are not used, or divided by their sum once more: multiply each result with its gate"),
        (experts.of(gate * x, 0), "the gate multiplies what the expert is given: multiply what it returns"),
        (gate * experts.of(gate * x, 0), "the gate is used twice: multiply only what the expert returns"),
        (gate * gate * y, "the gate is used twice"),
    ]
    judge(done.out, gate * y, "a result is not what the expert returns times its gate", wrong)

    same = twins(experts, 4)
    indices, gates = mixed(rng, 8, 4), normal(rng, 8, 1).abs().float() + 0.2
    (done,) = carry(student, same, (x, gates, indices))
    right, order = gates.double() * same.of(x, 0), indices[:, 0].argsort(stable=True)
    if not near(done.out, right[order]) and not near(
        done.out, right[order][order]
    ):  # the order of results: judged above
        mixed_up = "gates and results come in different orders: each result has the gate of its own token"
        expect(near(done.out, right) or not resembles(done.out, right), mixed_up)
        judge(done.out, right, "results are not those of the experts times the gates of their tokens")

    experts, pair, gates = some_experts(rng, 2), rng.sample(range(2), 2), [rng.uniform(0.2, 0.4), rng.uniform(0.6, 0.8)]
    (done,) = carry(student, experts, (x, torch.tensor([gates] * 8), torch.tensor([pair] * 8)))
    one, other = (experts.of(x, e) for e in pair)
    right = gates[0] * one + gates[1] * other
    expect_a_dispatch(student, rng)
    if any(near(done.out, part) for part in (gates[0] * one, gates[1] * other, right / 2, 2 * right)):
        return  # adding up: judged above
    wrong = [
        (gates[1] * one + gates[0] * other, "the two gates of a token are exchanged: gate i belongs to index i"),
        (gates[0] * (one + other), "the first gate of a token is used for all its experts"),
        (gates[1] * (one + other), "the last gate of a token is used for all its experts"),
        (sum(gates) * (one + other), "the sum of the gates is used for each expert"),
    ]
    if not near(done.out.sum(0), right.sum(0)):  # else it is the order of results: judged above
        judge(done.out, right, "each result must have the gate of its own place", wrong)


def spread(rng, n: int, number: int, k: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """A job in which every expert gets tokens, equally many where n is a multiple of the number of experts."""
    start = rng.randrange(number)
    indices = (torch.arange(n)[:, None] + start + torch.arange(k)) % number
    return normal(rng, n, 3).float(), normal(rng, n, k).abs().float() + 0.1, indices


def learned(student, *given: Tensor, second: Tensor | None, factor: Tensor, problem: str = "") -> tuple[Tensor, list]:
    """The result for (x, weights, indices, first), and the gradients of all but the indices."""
    x, weights, indices, first = given
    gradients = [either(type(None), like(tensor, dtype=None, finite=False)) for tensor in (x, weights, first)]
    form, call = [some_tensor(MOST), gradients], (x, weights, indices, first, second, factor)

    def plain() -> None:
        flat = (tensor.flatten(0, -2) for tensor in (x, weights, indices))
        ask(student, anything, drive_dispatch_gradients, *flat, first, second, factor.reshape(-1, x.shape[-1]))

    try:
        return ask(student, form, drive_dispatch_gradients, *call)
    except StudentError as error:
        *others, of_factor = (in_the_other_form(tensor) for tensor in (x, weights, indices, factor))
        if error.is_a(*ORDINARY) and others[0] is not None:  # which forms dispatch takes is judged by itself
            with suppress(StudentError):
                some = [either(type(None), like(one, dtype=None, finite=False)) for one in (*others[:2], first)]
                out, found = ask(
                    student, [some_tensor(MOST), some], drive_dispatch_gradients, *others, first, second, of_factor
                )
                shaped = (
                    one if one is None else one.reshape(right.shape)
                    for one, right in zip(found, (x, weights, first), strict=True)
                )
                return out.reshape(x.shape) if out.numel() == x.numel() else out, list(shaped)
        return asked(student, form, drive_dispatch_gradients, *call, problem=problem, plain=plain)


PATHS = ("x", "the gates", "the experts")


def expect_gradients(gradients: list[Tensor | None]) -> None:
    for name, gradient in zip(PATHS, gradients, strict=True):
        missing = f"no gradient flows through dispatch to {name}: is there a detach, .data, no_grad or numpy?"
        expect(gradient is not None and bool((gradient != 0).any()), missing)


@check("dispatch", points=18.5, title="together: results and gradients of ordinary tokens", seconds=10)
def dispatch_together(student, rng):
    front, number = (2, 6), 5
    x, weights = normal(rng, *front, 4).float(), normal(rng, *front, 2).abs().float() + 0.1
    indices = torch.tensor([rng.sample(range(number), 2) for _ in range(12)])
    indices[:6, 0], indices[:6, 1] = 0, torch.arange(6) % 4 + 1  # one that many want, and none without tokens
    indices = indices.reshape(*front, 2)
    first, second = (normal(rng, number, 4, 4).float() for _ in range(2))
    factor, problem = normal(rng, *front, 4).float(), "dispatch fails for x of the shape (batch, seq, d_model)"
    out, gradients = learned(student, x, weights, indices, first, second=second, factor=factor, problem=problem)
    expect(out.shape == x.shape, SHAPE)
    inputs = [tensor.double().requires_grad_() for tensor in (x, weights, first)]
    given = (inputs[0][..., None, None, :] @ inputs[2][indices]).tanh() @ second.double()[indices]
    right = (inputs[1][..., None] * given.squeeze(-2)).sum(-2)
    message = f"together dispatch does not work yet: its result is not the sum of gate times expert; {WHY}"
    expect(near(out, right.detach()), message)
    expect_gradients(gradients)
    message = f"together dispatch cannot teach yet: its gradients are not those of what it computes; {WHY}"
    for gradient, one in zip(gradients, torch.autograd.grad((right * factor).sum(), inputs), strict=True):
        expect(fits_gradient(gradient, one), message)
