"""What `softmax` asks for: weights that add up to 1, for scores of any size, along any dimension."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cs336lite.course.answers import anything, either, like, list_of, same
from cs336lite.course.spec import check, expect

from .asking import (
    TENSOR,
    ask,
    dtypes,
    expect_gradient,
    expect_shape,
    judge,
    judge_together,
    near,
    once,
    only,
    weights_for_each,
)
from .definition import weights_of
from .drivers import drive_float16, drive_softmax
from .inputs import INF, drawn, normal, symmetric


def drive_softmax_gradient(student, x, dim, factor):
    """The gradient of the weighted sum of weights, or None."""
    x = x.clone().requires_grad_()
    total = (student.softmax(x, dim) * factor).sum()
    if not total.requires_grad:
        return None
    total.backward()
    return x.grad


KEEPS_SHAPE = "softmax keeps the shape of what it is given"


def either_way(answer: Any, expected: Tensor) -> Tensor:
    """Of a symmetric matrix: the answer, transposed where it was taken along the other dimension."""
    expect_shape(answer, expected.shape, KEEPS_SHAPE)
    return answer.mT if near(answer.mT, expected, 1e-3) else answer


@drawn
def ordinary_scores(rng) -> tuple[Tensor, Tensor]:
    x = symmetric(rng, 5)
    return x, weights_of(x)


@once
def plausible(student, rng) -> None:
    """Fail for what is no softmax at all, before a side of it is judged."""
    x, expected = ordinary_scores(rng)
    answer = only(weights_for_each(student, (x, -1)))
    expect(near(either_way(answer, expected), expected, 0.05), "this is judged when ordinary scores give right weights")


@check("softmax", points=2, title="powers of e, divided by their sum")
def divides_by_the_sum(student, rng):
    x, expected = ordinary_scores(rng)
    answer = only(weights_for_each(student, (x, -1)))
    wrong = [
        (lambda: x.exp(), "the powers are not divided by their sum: the weights of a row must add up to 1"),
        (lambda: expected.log(), "these are logarithms of weights: softmax gives the weights themselves"),
        (lambda: x.exp() / x.exp().sum(), "the powers are divided by the sum over the whole tensor, not along dim"),
        (lambda: x / x.sum(-1, keepdim=True), "the scores themselves are divided by their sum: take exp first"),
        (lambda: weights_of(-x), "great scores get small weights: a sign is the wrong way round"),
        (lambda: (x - x.amax(-1, keepdim=True)).exp(), "the powers are not divided by their sum"),
    ]
    judge(either_way(answer, expected), expected, "the weights are not exp(x_i) / sum_j exp(x_j)", wrong)


@drawn
def scores_with_dims(rng) -> list[tuple[Tensor, int]]:
    x, y = normal(rng, 2, 3, 4), normal(rng, 3, 2, 2, 5)
    return [*((x, dim) for dim in rng.sample(range(-3, 3), 6)), (y, 1), (y, -2), (x[0, 0], 0)]


@check("softmax", points=1.5, title="along the dimension that is asked for")
def along_the_dimension(student, rng):
    weights_for_each(student, (ordinary_scores(rng)[0], -1))
    jobs = scores_with_dims(rng)
    problems = {"IndexError": "softmax fails for some dims: it must work along any dim, from the front or the back"}
    for (x, dim), answer in zip(jobs, weights_for_each(student, *jobs, problems=problems), strict=True):
        wrong = [
            (lambda x=x: weights_of(x, -1), "dim is ignored: the weights always run along the last dimension"),
            (lambda x=x: weights_of(x, 0), "dim is ignored: the weights always run along the first dimension"),
            (lambda x=x: weights_of(x, min(1, x.ndim - 1)), "dim is ignored: the weights always run along dimension 1"),
            (lambda x=x: x.exp() / x.exp().sum(), "the powers are divided by the sum over the whole tensor"),
        ]
        judge(answer, weights_of(x, dim), "the weights do not add up to 1 along dim", wrong, what=KEEPS_SHAPE)


@drawn
def great_scores(rng) -> list[Tensor]:
    level = torch.full((6, 6), -3e3, dtype=torch.float32)  # not greater: logsumexp, rounded, must be near enough
    level[:3, :3], level[3:, 3:] = 1e3, -1e3
    around = symmetric(rng, 6).float()
    small = symmetric(rng, 6).clamp(-1, 1).half()
    return [around + 1e3, around - 1e3, small + 13, around + level]


@check("softmax", points=2, title="scores of any size")
def scores_of_any_size(student, rng):
    plausible(student, rng)
    xs = great_scores(rng)
    halves = ask(student, bool, drive_float16)
    over = "scores that are large overflow: subtract the greatest score of each row before exp"
    under = "scores far below zero all vanish: subtract the greatest score of each row before exp"
    whole = (
        "rows far apart vanish or overflow: is the greatest score of the whole tensor subtracted? Take each row's own"
    )
    for x, message in zip(xs, (over, under, over, whole), strict=True):
        if x.dtype == torch.float16 and not halves:
            continue
        expected = weights_of(x.double())
        answer = only(weights_for_each(student, (x, -1)))
        tolerance = 2e-2 if x.dtype == torch.float16 else 1e-3
        judge(either_way(answer, expected), expected, message, tolerance=tolerance)


@drawn
def scores_without_any(rng) -> Tensor:
    x = symmetric(rng, 5)
    gone = rng.randrange(5)
    x[gone, :] = x[:, gone] = -INF
    return x


ZEROS = "a row of nothing but -inf must give zeros"


@check("softmax", points=1, title="a row of nothing but -inf gives zeros")
def nothing_to_choose(student, rng):
    plausible(student, rng)
    x = scores_without_any(rng)
    expected = weights_of(x)
    answer = only(weights_for_each(student, (x, -1)))
    answer = either_way(answer, expected)
    gone = (x == -INF).all(-1)
    expect(not bool(answer[gone].isnan().any()), f"{ZEROS}: 0/0 gives NaN")
    expect(not near(answer[gone], torch.full_like(answer[gone], 0.2), 1e-3), f"{ZEROS}: all weights are equal there")
    judge(answer, expected, f"{ZEROS}, and a score of -inf elsewhere the weight 0", what=KEEPS_SHAPE)


@check("softmax", points=0.5, title="no NaN in the gradient of such a row")
def nothing_to_learn(student, rng):
    plausible(student, rng)
    x = scores_without_any(rng)
    factor = 1e3 * normal(rng, *x.shape)  # so that what was divided by a tiny number overflows
    form = either(type(None), like(x, finite=False))
    gradient = ask(student, form, drive_softmax_gradient, x, -1, factor)
    expect(gradient is not None, "no gradient flows through softmax")
    message = (
        "a row of nothing but -inf has NaN in its gradient: replace what causes it (the maximum, the sum) before you "
        "subtract or divide, for a NaN that is replaced afterwards comes back in the gradient"
    )
    expect(not bool(gradient[(x == -INF).all(-1)].isnan().any()), message)
    expect(bool(gradient.isfinite().all()), "the gradient is not finite where single scores are -inf")
    expect(bool((gradient != 0).any()), "the gradient is zero: none flows through softmax")


@check("softmax", points=0.5, title="the dtype that came in")
def softmax_keeps_the_dtype(student, rng):
    plausible(student, rng)
    x, expected = ordinary_scores(rng)
    jobs = [(x.to(dtype), -1) for dtype in dtypes(student)]
    for (given, _), answer in zip(jobs, weights_for_each(student, *jobs), strict=True):
        expect_shape(answer, expected.shape, KEEPS_SHAPE)
        name = str(given.dtype).removeprefix("torch.")
        expect(answer.dtype == given.dtype, f"{name} goes in and another dtype comes out: return the dtype of x")
        if given.dtype == torch.float64:
            message = (
                "float64 comes back with the precision of float32: do not compute in float32 what comes in float64"
            )
            expect(near(either_way(answer, expected), expected, 1e-11), message)


@check("softmax", points=0.5, title="bfloat16 is computed in float32")
def bfloat16_in_float32(student, rng):
    plausible(student, rng)
    scores = (6 * normal(rng, 7, 7)).to(torch.bfloat16)
    weights = only(weights_for_each(student, (scores, -1)))
    expect_shape(weights, scores.shape, KEEPS_SHAPE)
    message = "in bfloat16 small weights are off by several percent: compute in float32, and return bfloat16"
    right = [weights_of(scores.double(), dim) for dim in (-1, 0)]  # dim: another check's affair
    within = [bool(((weights.double() - each).abs() <= 0.012 * each + 1e-30).all()) for each in right]
    expect(any(within), message)


@check("softmax", points=0.5, title="what is given stays as it is")
def softmax_changes_nothing(student, rng):
    plausible(student, rng)
    x = normal(rng, 3, 4)
    _, after = only(ask(student, list_of([anything, TENSOR], 1), drive_softmax, [(x, -1)]))
    expect(same(after, x), "x was changed: is an operation in place (-=, exp_, masked_fill_)?")


@check("softmax", points=0.5, title="gradients flow")
def softmax_gradient(student, rng):
    plausible(student, rng)
    x, factor = normal(rng, 3, 4), normal(rng, 3, 4)
    gradient = ask(student, either(type(None), like(x, finite=False)), drive_softmax_gradient, x, -1, factor)
    flows = "no gradient flows through softmax: is there a detach, .data, no_grad or numpy?"
    expect_gradient(gradient, flows)
    message = "the gradient through softmax is not that of what it computes: is a part of it detached?"
    expect(any(near(gradient, slopes_of(x, dim, factor), 1e-3) for dim in (-1, 0)), message)  # dim: another's affair


def slopes_of(x: Tensor, dim: int, factor: Tensor) -> Tensor:
    """The gradient of the weighted sum of weights."""
    weights = weights_of(x, dim)
    return weights * (factor - (weights * factor).sum(dim, keepdim=True))


@check("softmax", points=6, title="together: the scores of a model")
def softmax_together(student, rng):
    x = normal(rng, 2, 3, 4, 5).float() * 3
    jobs = [(x, -1), (x[0, 0], 1), (x + 100, -1), (x[0], 0)]
    for (given, dim), answer in zip(jobs, weights_for_each(student, *jobs), strict=True):
        judge_together(answer, weights_of(given.double(), dim), "softmax of ordinary scores", KEEPS_SHAPE)
