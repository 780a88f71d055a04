"""What `relative` asks for: attention that sees distances alone.

The rotation is ours, here and beside the student's code.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from cs336lite.course.answers import anything, ask, blame, list_of
from cs336lite.course.spec import Fail, check, drawn, expect

from .asking import BATCHES, close, turned, vectors


def drive_attention(student, calls, factors):
    """The answer to each call, and with ``factors`` the gradients at q, k and v of its sum weighed by them."""
    import torch

    class Rope(torch.nn.Module):
        def forward(self, x, token_positions):
            angles = token_positions[..., None] * 50.0 ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
            first, second = x[..., 0::2], x[..., 1::2]
            cos, sin = angles.cos(), angles.sin()
            return torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(-2)

    answers = []
    for q, k, v, *positions in calls:
        leaves = [x.clone().requires_grad_(factors is not None) for x in (q, k, v)]
        answer = student.rotary_attention(Rope(), *(leaf * 1 for leaf in leaves), *positions)
        gradients = []
        learns = factors is not None and isinstance(answer, torch.Tensor) and answer.requires_grad
        if learns and answer.shape == factors.shape:
            (answer * factors).sum().backward()
            gradients = [leaf.grad for leaf in leaves]
        answers.append([answer.detach() if isinstance(answer, torch.Tensor) else None, gradients])
    return answers


@dataclass(frozen=True)
class Heard:
    """A question about attention, and the answers of right and wrong attention, by what is wrong."""

    call: tuple[Tensor, ...]
    kinds: list[dict[str, str]]
    answers: Tensor  # one of each kind

    def gives(self, answer: Tensor, **wanted: str) -> bool:
        """Is this the answer of some attention whose scale, turn, values or softmax are as wanted?"""
        expect(answer.shape == self.answers.shape[1:], "rotary_attention must return (..., queries, d_v)")
        is_this = ((self.answers.double() - answer.double()).abs().flatten(1).amax(dim=1) <= 1e-3).tolist()
        return any(
            found and all(kind[name] == one for name, one in wanted.items())
            for kind, found in zip(self.kinds, is_this, strict=True)
        )


@drawn
def something_heard(rng, queries: int, keys: int) -> Heard:
    d_k = 6
    q, k, v = (vectors(rng, 2, 2, size, d_k) for size in (queries, keys, keys))
    q_at = torch.tensor([rng.sample(range(20, 40), queries) for _ in range(2)])[:, None]
    k_at = torch.tensor([rng.sample(range(1, 18), keys) for _ in range(2)])[:, None]
    return heard(q, k, v, q_at, k_at)


def heard(q: Tensor, k: Tensor, v: Tensor, q_at: Tensor, k_at: Tensor) -> Heard:
    (queries, d_k), keys = q.shape[-2:], k.shape[-2]
    turns = {
        "right": (turned(q, q_at), turned(k, k_at)),
        "none": (q, k),
        "only q": (turned(q, q_at), k),
        "only k": (q, turned(k, k_at)),
    }
    if queries == keys:
        turns["all by q"] = turned(q, q_at), turned(k, q_at)
        turns["all by k"] = turned(q, k_at), turned(k, k_at)
        turns["exchanged"] = turned(q, k_at), turned(k, q_at)
    values = {"right": v, "turned": turned(v, k_at)}
    scales = {"right": d_k**-0.5, "none": 1.0, "d_k": 1 / d_k}
    kinds, answers = [], []
    for scale, factor in scales.items():
        for turn, (q_turned, k_turned) in turns.items():
            scores = q_turned @ k_turned.transpose(-2, -1) * factor
            weights = {"over keys": scores.softmax(dim=-1), "over queries": scores.softmax(dim=-2)}
            if queries == keys:
                later = torch.ones(queries, keys, dtype=torch.bool).triu(1)
                weights["masked"] = scores.masked_fill(later, -torch.inf).softmax(dim=-1)
            for softmax, weight in weights.items():
                kinds += [{"scale": scale, "turn": turn, "values": name, "softmax": softmax} for name in values]
                answers += [weight @ value for value in values.values()]
    return Heard((q, k, v, q_at, k_at), kinds, torch.stack(answers))


def attended(student, calls: list[tuple[Tensor, ...]], problem: str = "") -> list[Tensor]:
    plain = partial(attended, student, PLAIN_CALL)
    with blame(problem, plain) if problem else nullcontext():
        found = ask(student, list_of([anything, []], len(calls)), drive_attention, calls, None)
    answers = [answer for answer, _ in found]
    for (q, _, v, *_), answer in zip(calls, answers, strict=True):
        expect(isinstance(answer, Tensor), "rotary_attention must return a tensor")
        expect(answer.shape == (*q.shape[:-1], v.shape[-1]), "rotary_attention must return (..., queries, d_v)")
        expect(bool(answer.isfinite().all()), "the result of rotary_attention holds nan or infinity")
        expect(not close(answer, torch.zeros_like(answer), 1e-6), "rotary_attention returns zeros")
        expect(
            answer.shape != v.shape or v.shape[-2] == 1 or not close(answer, v, 1e-6),
            "the values come back as they are",
        )
    return answers


PLAIN_CALL = [
    (*(torch.linspace(-1, 1, 2 * 2 * 3 * 6).sin().reshape(2, 2, 3, 6) * i for i in (1, 2, 3)), *[torch.arange(3)] * 2)
]

NO_ATTENTION = (
    "the result is no attention yet in which values could be told from turned ones: softmax over the keys of scores "
    "divided by the root of d_k, times the values"
)


@check("relative", points=1, title="values are not turned", seconds=5)
def values_are_not_turned(student, rng):
    question, alone = something_heard(rng, 3, 3), something_heard(rng, 1, 1)
    answers = attended(student, [question.call, alone.call])
    message = "values are turned too: only queries and keys are, for V is what a token says, wherever it stands"
    expect(not question.gives(answers[0], values="turned") or question.gives(answers[0], values="right"), message)
    expect(not close(answers[1], turned(alone.call[2], alone.call[4])), message)
    expect(not close(answers[1], turned(alone.call[2], alone.call[3])), message)
    expect(close(answers[1], alone.call[2]), "with a single key the weight is 1, and the result must be its value")
    expect(question.gives(answers[0]), NO_ATTENTION)


@check("relative", points=1, title="softmax over keys of scores divided by the root of d_k", seconds=5)
def scores_are_scaled(student, rng):
    question = something_heard(rng, 3, 3)
    (answer,) = attended(student, [question.call])
    if not question.gives(answer, scale="right", softmax="over keys"):
        expect(not question.gives(answer, scale="none"), "scores are not scaled: divide them by the root of d_k")
        expect(not question.gives(answer, scale="d_k"), "scores are divided by d_k: divide them by its root")
        expect(
            not question.gives(answer, softmax="over queries"),
            "softmax is over the queries: the weights of each query add up to 1",
        )
        raise Fail("the result is not softmax over the keys of scores divided by the root of d_k, times the values")


@check("relative", points=1, title="queries and keys have positions of their own", seconds=5)
def each_has_its_own_positions(student, rng):
    for question in (something_heard(rng, 3, 3), something_heard(rng, 2, 4)):
        (answer,) = attended(student, [question.call])
        if question.gives(answer, turn="right", softmax="over keys"):
            continue
        expect(not question.gives(answer, turn="none"), "queries and keys are not turned: attention sees no distances")
        one = question.gives(answer, turn="only q") or question.gives(answer, turn="only k")
        expect(
            not one,
            "only one of queries and keys is turned, so scores depend on where both stand, not on their distance",
        )
        both = question.gives(answer, turn="all by q") or question.gives(answer, turn="all by k")
        expect(not both, "queries and keys are turned by the same positions: each has its own")
        expect(not question.gives(answer, turn="exchanged"), "the positions of queries and keys are exchanged")
        raise Fail(
            "the result is not attention over the keys, with queries turned by q_positions and keys by k_positions"
        )


def right_attention(q: Tensor, k: Tensor, v: Tensor, q_at: Tensor, k_at: Tensor) -> Tensor:
    return (turned(q, q_at) @ turned(k, k_at).mT / q.shape[-1] ** 0.5).softmax(dim=-1) @ v


@check("relative", points=1, title="any number of dimensions", seconds=5)
def attention_takes_any_batch(student, rng):
    xs = vectors(rng, 4, 4, 6), vectors(rng, 4, 4, 6), vectors(rng, 4, 4, 6)
    places = torch.tensor(rng.sample(range(20, 40), 4)), torch.tensor(rng.sample(range(1, 18), 4))
    (known,) = attended(student, [(*(x[None] for x in xs), *places)])
    message = "with four dimensions the result is no attention that could be compared: the checks above say why"
    expect(heard(*xs, *places).gives(known[0]), message)
    calls = [(*((x.reshape(*batch, *x.shape[1:]) if batch else x[0]) for x in xs), *places) for batch in BATCHES]
    problem = "q, k and v of two, three, five or six dimensions raise an exception, and of four they do not"
    for answer in attended(student, calls, problem):
        message = "with two, three, five or six dimensions the result is another one than with four"
        flat = answer.reshape(-1, 4, 6)
        expect(close(flat, known[0, : len(flat)], 1e-3), message)


@check("relative", points=4, title="together: attention of a batch of heads", seconds=5)
def whole_attention_agrees(student, rng):
    q, k, v = vectors(rng, 2, 3, 4, 8), vectors(rng, 2, 3, 6, 8), vectors(rng, 2, 3, 6, 8)
    q_at = torch.tensor([rng.sample(range(20, 40), 4) for _ in range(2)])[:, None]
    k_at = torch.tensor([rng.sample(range(1, 18), 6) for _ in range(2)])[:, None]
    factors = vectors(rng, 2, 3, 4, 8)
    form = [[anything, list_of(anything, least=0, most=3)]]
    ((answer, gradients),) = ask(student, form, drive_attention, [(q, k, v, q_at, k_at)], factors)
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    right = right_attention(*leaves, q_at, k_at)
    (right * factors).sum().backward()
    message = "together, on ordinary input, this is not the attention of the formula yet: the checks above say why"
    expect(close(answer, right.detach(), 1e-3), message)
    expect(len(gradients) == 3, "the values are right, and no gradient comes back to q, k and v")
    for gradient, leaf in zip(gradients, leaves, strict=True):
        expect(close(gradient, leaf.grad, 1e-3), "the values are right, and the gradients of q, k or v are not")
