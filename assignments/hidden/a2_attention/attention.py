"""What `attention` asks for: weights of scores over the root of d_k, masks, and any dimensions in front.

One file, though a long one: each of its 17 checks meets one difficulty, and stands below its inputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cs336lite.course.answers import anything, either, like, list_of, same
from cs336lite.course.answers import ask as ask_for
from cs336lite.course.spec import Fail, StudentError, check, expect

from .asking import (
    TENSOR,
    ask,
    dtypes,
    expect_gradient,
    expect_shape,
    expect_slope,
    judge,
    judge_together,
    near,
    once,
    only,
)
from .definition import attend_to, weights_of
from .drivers import drive_attention, drive_float16, drive_softmax
from .inputs import drawn, normal
from .manner import Manner, asked, manner_of


def regular_mask(rng, n: int, allowed: int) -> Tensor:
    """A random n by n mask with as many True in each row as in each column."""
    shift = (torch.arange(n)[:, None] - torch.arange(n)) % n < allowed
    rows, columns = rng.sample(range(n), n), rng.sample(range(n), n)
    return shift[rows][:, columns]


def drive_attention_with_none(student, Q, K, V):
    """The result where no mask is given, in two ways, or the name of what it raises."""
    answers = []
    for options in ({}, {"mask": None}):
        try:
            answers.append(student.scaled_dot_product_attention(Q.clone(), K.clone(), V.clone(), **options))
        except Exception:
            answers.append("raised")
    return answers


def drive_attention_gradients(student, Q, K, V, mask, factor):
    """The gradients of the weighted sum of the result for Q, K and V, each of which may be None; or None."""
    inputs = [tensor.clone().requires_grad_() for tensor in (Q, K, V)]
    extra = () if mask is None else (mask,)
    total = (student.scaled_dot_product_attention(*inputs, *extra) * factor).sum()
    if not total.requires_grad:
        return None
    total.backward()
    return [tensor.grad for tensor in inputs]


def attended(student, *jobs: tuple, problems: dict[str, str] | None = None) -> list[Tensor]:
    """The results for each (Q, K, V, mask), asked in this solution's manner."""
    return asked(student, manner_of(student), *jobs, problems=problems)


@drawn
def growing_scores(rng) -> tuple[Tensor, ...]:
    """Q, K and V such that the scores of each query, in some order, are 0, 1, 2 and 3 times 1.2; and that order."""
    order = (torch.arange(4)[:, None] + torch.arange(4)) % 4
    order = order[rng.sample(range(4), 4)][:, rng.sample(range(4), 4)]
    K, V = (torch.linalg.qr(normal(rng, 4, 4))[0] for _ in range(2))
    return (1.2 * order.double() @ K).float(), K.float(), V.float(), order


@once
def weighs(student, rng) -> None:
    """Fail for what is no attention at all, before a side of it is judged.

    Equal steps of the scores must be equal factors of the weights. That holds for any scale, without the division by
    the sum, and over the queries too; it does not hold for means, for the greatest score alone, nor for other powers.
    """
    Q, K, V, order = growing_scores(rng)
    answer = only(attended(student, (Q, K, V, None)))
    if answer.shape == (4, 4) and answer.dtype.is_floating_point:
        weights = answer.double() @ V.double().mT
        factors = weights.gather(1, order.argsort(1)).log().diff(dim=1)
        if bool((factors > 0.05).all()) and near(factors, factors.mean().expand(4, 3), 0.03):
            return
    raise Fail("this is judged when the weights of a query are powers of e of its scores, on whatever scale")


def equal_scores(rng, q: int, k: int, d: int, *front: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries at random and keys of zeros: every score is 0 and the scale does not matter."""
    return normal(rng, *front, q, d).float(), torch.zeros(*front, k, d), normal(rng, *front, k, 3).float()


def mean_over(allowed: Tensor, V: Tensor) -> Tensor:
    """The mean of the allowed values; zeros where there are none."""
    allowed = allowed.to(V.dtype)
    return allowed @ V / allowed.sum(-1, keepdim=True).clamp(min=1)


@drawn
def scores_of_several_sizes(rng) -> list[tuple[Tensor, Tensor]]:
    return [(normal(rng, n, d).float(), torch.eye(n, n + 2)) for n, d in ((7, 4), (3, 9), (6, 16))]


@check("attention", points=1, title="scores are divided by the root of d")
def divides_by_the_root(student, rng):
    cases = scores_of_several_sizes(rng)
    root = "divide them by the square root of d, the size of a query"
    for (Q, V), answer in zip(cases, attended(student, *((Q, Q, V, None) for Q, V in cases)), strict=True):
        n, d = Q.shape
        expected = attend_to(Q, Q, V)
        wrong = [
            (lambda Q=Q, V=V: attend_to(Q, Q, V, scale=1.0), f"the scores are not scaled: {root}"),
            (lambda Q=Q, V=V, d=d: attend_to(Q, Q, V, scale=1 / d), f"the scores are divided by d itself: {root}"),
            (lambda Q=Q, V=V, d=d: attend_to(Q, Q, V, scale=d**0.5), f"the scores are multiplied by the root: {root}"),
            (
                lambda Q=Q, V=V, n=n: attend_to(Q, Q, V, scale=n**-0.5),
                f"the scores are divided by the root of the number of keys: {root}",
            ),
            (
                lambda Q=Q, V=V: attend_to(Q, Q, V, scale=V.shape[-1] ** -0.5),
                f"the scores are divided by the root of dv: {root}",
            ),
            (
                lambda Q=Q, V=V, d=d: Q @ Q.mT @ V * d**-0.5,
                "the scores are used without softmax: turn them into weights first",
            ),
            (
                lambda Q=Q, V=V: weights_of(Q @ Q.mT) @ V * Q.shape[-1] ** -0.5,
                f"the weights are scaled, not the scores: {root}",
            ),
        ]
        expect_shape(answer, expected.shape, "the result has the shape (..., q, dv)")
        if near(answer[:, :n].mT, expected[:, :n]):  # the softmax over the queries: another check's affair
            continue
        judge(answer, expected, "the weights are not softmax(Q K^T / sqrt(d)) over the keys", wrong)


@check("attention", points=1, title="the weights of a query add up to 1")
def weights_run_over_keys(student, rng):
    weighs(student, rng)
    Q, K, V = equal_scores(rng, 3, 5, 4, 2)
    message = "queries, keys and values may differ in number and size: Q (q, d), K (k, d), V (k, dv) give (q, dv)"
    answer = only(attended(student, (Q, K, V, None), problems={"RuntimeError": message}))
    expected = V.mean(-2, keepdim=True).expand(2, 3, 3)
    wrong = [
        (lambda: V.sum(-2, keepdim=True).expand(2, 3, 3) / 3, "softmax runs over the queries: take it over the keys"),
        (
            lambda: V.sum(-2, keepdim=True).expand(2, 3, 3) / 2,
            "softmax runs over the first dimension: take the keys, the last",
        ),
        (lambda: V.sum(-2, keepdim=True).expand(2, 3, 3), "the weights are not normalised: they must add up to 1"),
        (lambda: 0 * expected, "the scores are used without softmax: turn them into weights first"),
    ]
    judge(answer, expected, "equal scores must give the mean of the values: softmax runs over the keys", wrong)


@drawn
def pointers(rng) -> list[tuple[Tensor, ...]]:
    """Each query meets one key, so the result is a row of values whatever the scale: (Q, K, V, expected)."""
    cases = []
    for front_q, front_k, q, k, dv in [((), (), 5, 5, 4), ((2,), (2,), 4, 6, 3), ((2, 3), (2, 3), 5, 5, 7)]:
        cases.append(pointing(rng, front_q, front_k, q, k, dv))
    for front_q, front_k in [((2, 3), (3,)), ((4,), ()), ((2, 1), (1, 3)), ((2, 1, 2), (2, 3, 1))]:
        cases.append(pointing(rng, front_q, front_k, 4, 4, 3))
    return cases


def pointing(rng, front_q, front_k, q: int, k: int, dv: int) -> tuple[Tensor, ...]:
    chosen = torch.tensor(rng.sample(range(k), q))
    K = torch.eye(8)[rng.sample(range(8), k)] * 80**0.5  # e^80 is a float32, and e^-10, divided by d, next to nothing
    Q = K[chosen].expand(*front_q, q, 8).clone()
    V = torch.zeros(*front_k, k, dv)
    V[..., chosen, :] = normal(rng, *front_k, q, dv).float()
    front = torch.broadcast_shapes(front_q, front_k)
    return Q, K.expand(*front_k, k, 8).clone(), V, V[..., chosen, :].expand(*front, q, dv).clone()


@check("attention", points=0.5, title="as many keys as there are, values of any size")
def lengths_differ(student, rng):
    weighs(student, rng)
    cases = [case for case in pointers(rng) if case[0].ndim == 3][:1]
    message = "queries, keys and values may differ in number and size: Q (q, d), K (k, d), V (k, dv) give (q, dv)"
    answers = attended(student, *((*case[:3], None) for case in cases), problems={"RuntimeError": message})
    for case, answer in zip(cases, answers, strict=True):
        judge(answer, case[3], message, tolerance=2e-3)


FRONT = ["RuntimeError", "ValueError", "IndexError", "EinopsError", "AssertionError"]


@check("attention", points=0.5, title="the dimensions in front broadcast")
def broadcasts(student, rng):
    weighs(student, rng)
    cases = [
        case for case in pointers(rng) if case[0].ndim == case[1].ndim > 2 and case[3].shape[-2] == case[1].shape[-2]
    ]
    message = "the dimensions in front of (q, d), (k, d) and (k, dv) must broadcast: (2, 1) and (1, 3) give (2, 3)"
    problems = dict.fromkeys(FRONT, message)
    answers = attended(student, *((*case[:3], None) for case in cases), problems=problems)
    try:
        for case, answer in zip(cases, answers, strict=True):
            judge(answer, case[3], message, what=message, tolerance=2e-3)
    except Fail as problem:  # of the attention, if the softmax that it uses is right for as many dimensions
        x = torch.arange(120.0).reshape(2, 3, 4, 5).sin()
        ((weights, _),) = ask_for(student, list_of([anything, anything], 1), drive_softmax, [(x, -1)])
        if not near(weights, weights_of(x.double()), 1e-3):
            raise Fail("this is judged when softmax along the last of four dimensions is right") from problem
        raise


@check("attention", points=2, title="with nothing in front, or less than in the other")
def any_number_in_front(student, rng):
    weighs(student, rng)
    plain, *others = [case for case in pointers(rng) if case[0].ndim == 2 or case[0].ndim != case[1].ndim]
    manner = manner_of(student)
    bare = Manner(0, manner.masked)
    message = "a query matrix (q, d) with nothing in front fails: any number of dimensions may stand there, also none"
    (answer,) = asked(student, bare, (*plain[:3], None), problems=dict.fromkeys(FRONT, message))
    judge(answer, plain[3], message, what=message, tolerance=2e-3)
    message = "the dimensions in front must broadcast, also where K and V have fewer of them than Q"
    answers = asked(student, bare, *((*case[:3], None) for case in others), problems=dict.fromkeys(FRONT, message))
    for case, answer in zip(others, answers, strict=True):
        judge(answer, case[3], message, what=message, tolerance=2e-3)


@check("attention", points=2, title="without a mask")
def mask_may_be_left_out(student, rng):
    weighs(student, rng)
    job = growing_scores(rng)[:3]
    manner = manner_of(student)
    usual = only(attended(student, (*job, None)))
    Q, K, V, _ = manner.asks((*job, None))
    said = ask(student, [either(str, TENSOR)] * 2, drive_attention_with_none, Q, K, V)
    for answer, how in zip(said, ("without a mask", "with mask=None"), strict=True):
        expect(not isinstance(answer, str), f"a call {how} fails: None is the default of mask, and forbids no key")
        message = f"a call {how} gives another result than with a mask of True alone"
        expect(near(manner.hears(answer, (*job, None)), usual, 1e-3), message)


@drawn
def masked_values(rng) -> tuple[Tensor, ...]:
    return *equal_scores(rng, 7, 7, 4), regular_mask(rng, 7, 3)


def readings(mask: Tensor, V: Tensor) -> dict[str, Tensor]:
    """What equal scores give for each way to read a mask."""
    allowed = mask.to(V.dtype)
    k = mask.shape[-1]
    return {
        "right": mean_over(mask, V),
        "inverted": mean_over(~mask, V),
        "ignored": V.mean(-2).expand(mask.shape[-2], -1),
        "after": allowed @ V / k,
        "multiplied": weights_of(allowed) @ V,
    }


def reading(answer: Tensor, mask: Tensor, V: Tensor, tolerance: float = 1e-5) -> str:
    """The way in which a mask was read, "" for none that is known."""
    return next((name for name, made in readings(mask, V).items() if near(answer, made, tolerance)), "")


MASKED = {
    "inverted": "the mask is inverted: True means that a query may attend to the key",
    "ignored": "the mask has no effect: a score of 0 is not forbidden, -inf is",
    "after": "the mask comes after softmax, so the weights no longer add up to 1: put -inf into the scores",
    "multiplied": "the mask is used as a number: put -inf into the scores where it is False",
    "": "masked keys must get no weight, and the weights of the others must add up to 1",
}


@check("attention", points=1.5, title="True in the mask means: may attend")
def true_may_attend(student, rng):
    weighs(student, rng)
    Q, K, V, mask = masked_values(rng)
    answer = only(attended(student, (Q, K, V, mask)))
    expect_shape(answer, (7, 3), "the result has the shape (..., q, dv)")
    found = reading(answer, mask, V)
    if found != "right":
        raise Fail(MASKED[found])


@drawn
def padded_values(rng) -> tuple[Tensor, ...]:
    Q, K, V = equal_scores(rng, 3, 5, 4, 2, 3)
    padding = torch.arange(5) < torch.tensor(rng.sample(range(1, 5), 2))[:, None]
    pairs = torch.stack([torch.stack([torch.arange(5) < n for n in rng.sample(range(1, 6), 3)]) for _ in range(2)])
    return Q, K, V, padding[:, None, None], pairs[:, None], pairs[0]


@check("attention", points=0.5, title="the mask broadcasts")
def mask_broadcasts(student, rng):
    weighs(student, rng)
    Q, K, V, *masks = padded_values(rng)
    message = "the mask must broadcast to (..., q, k): (q, k), (batch, 1, q, k) and (batch, 1, 1, k) are all masks"
    # what fails for masks of full shape is no broadcasting
    wholes = attended(student, *((Q, K, V, mask.expand(2, 3, 3, 5)) for mask in masks))
    answers = attended(student, *((Q, K, V, mask) for mask in masks), problems=dict.fromkeys(FRONT, message))
    for mask, whole, answer in zip(masks, wholes, answers, strict=True):
        full = mask.expand(2, 3, 3, 5)
        number = full.to(V.dtype)
        others = mean_over(~full, V), number @ V / 5, weights_of(number) @ V
        if not any(near(answer, other) for other in others):  # `true_may_attend` judges these
            expect(
                not near(answer, whole) or near(whole, mean_over(full, V)),
                "this is judged when a mask of full shape is used rightly",
            )
            judge(answer, mean_over(full, V), message)


@check("attention", points=0.5, title="what is masked never wins")
def masked_never_wins(student, rng):
    weighs(student, rng)
    Q, K, V, mask = masked_values(rng)
    low_Q, low_K = torch.full_like(Q, 122.0), torch.full_like(K, -122.0)
    usual, low = attended(student, (Q, K, V, mask), (low_Q, low_K, V, mask))
    expect(reading(usual, mask, V) != "", MASKED[""])
    expect(not bool(low.isnan().any()), "scores far below zero all vanish: softmax must subtract the greatest of a row")
    message = "a masked key wins where all allowed scores are far below zero: use -inf, not a number such as -1e4"
    expect(near(low, usual, 2e-2), message)


@check("attention", points=0.5, title="a mask in float16")
def mask_in_float16(student, rng):
    weighs(student, rng)
    Q, K, V, mask = masked_values(rng)
    if ask(student, bool, drive_float16):
        short = Q.half(), K.half(), V.half()
        try:
            attended(student, (*short, None))
            Q, K, V = short
        except StudentError:  # it fails without a mask as well: another check's affair
            pass
    attended(student, (Q.float(), K.float(), V.float(), mask))  # if this fails, it is not float16
    number = "float16 holds no number beyond 65504, so -1e9 does not fit: use -inf, and keep the dtype of the scores"
    answer = only(attended(student, (Q, K, V, mask), problems={"RuntimeError": number, "OverflowError": number}))
    expect_shape(answer, (7, 3), "the result has the shape (..., q, dv)")
    expect(not bool(answer.isnan().any()), f"NaN in float16 with a mask: {number}; 0 times infinity is NaN, too")
    expect(reading(answer.double(), mask, V.double(), 2e-2) != "", MASKED[""])


@drawn
def an_empty_row(rng) -> tuple[Any, ...]:
    Q, K, V = equal_scores(rng, 6, 6, 4)
    mask = regular_mask(rng, 6, 3)
    empty = rng.randrange(6)
    full = next(row for row in range(6) if torch.equal(mask[row], ~mask[empty]))  # so columns stay regular
    mask[empty], mask[full] = False, True
    return Q, K, V, mask, empty, full


@check("attention", points=1, title="a query that may attend to no key gets zeros")
def nothing_to_attend_to(student, rng):
    weighs(student, rng)
    Q, K, V, mask, empty, full = an_empty_row(rng)
    answer = only(attended(student, (Q, K, V, mask)))
    expect_shape(answer, (6, 3), "the result has the shape (..., q, dv)")
    others = [row for row in range(6) if row not in (empty, full)]
    found = reading(answer[others], mask[others], V)
    if found in ("", "ignored", "multiplied"):
        raise Fail(MASKED[found])
    row = answer[full if found == "inverted" else empty]
    message = "a query that may attend to no key must get zeros"
    expect(not bool(row.isnan().any()), f"{message}: softmax of nothing but -inf is 0/0, which is NaN")
    expect(
        not near(row, V.mean(0)), f"{message}, not the mean of all values: use -inf instead of a large negative number"
    )
    expect(near(row, torch.zeros(3)), message)


@check("attention", points=0.5, title="no NaN in the gradients of such a query")
def nothing_to_learn_from(student, rng):
    weighs(student, rng)
    Q, K, V, mask, *_ = an_empty_row(rng)
    factor = normal(rng, 6, 3).float()
    gradients = gradients_of(student, (Q, K, V), mask, factor)
    message = (
        "a query that may attend to no key puts NaN into the gradients: the NaN must not arise, in softmax or here"
    )
    expect(all(bool(g.isfinite().all()) for g in gradients if g is not None), message)
    expect_gradient(gradients[2], "no gradient reaches V")
    axes = torch.linalg.qr(normal(rng, 6, 6))[0].float()
    answer = only(attended(student, (Q, K, axes, mask)))
    expect_shape(answer, (6, 6), "the result has the shape (..., q, dv)")
    weights = answer @ axes.mT
    expect(not near(weights, torch.full((6, 6), 1 / 6), 1e-3), MASKED["ignored"])
    expect(near(gradients[2], weights.mT @ factor, 1e-3), "the gradient of V is not that of what is computed")


def gradients_of(student, inputs: tuple[Tensor, ...], mask: Tensor | None, factor: Tensor) -> list[Tensor | None]:
    """The gradients of Q, K and V, as they come."""
    manner = manner_of(student)
    *given, mask = manner.asks((*inputs, mask))
    form = either(type(None), [either(type(None), like(tensor, finite=False)) for tensor in given])
    factor = factor.reshape(*given[0].shape[:-2], *factor.shape)
    gradients = ask(student, form, drive_attention_gradients, *given, mask, factor)
    if gradients is None:
        raise Fail("no gradient flows through attention: is there a detach, .data, no_grad or numpy?")
    return [manner.hears(gradient, inputs) for gradient in gradients]


@check("attention", points=0.5, title="gradients flow")
def attention_gradients(student, rng):
    weighs(student, rng)
    inputs = normal(rng, 3, 4).float(), normal(rng, 3, 4).float(), normal(rng, 3, 2).float()
    factor = normal(rng, 3, 2).float()
    gradients = gradients_of(student, inputs, None, factor)
    for gradient, name in zip(gradients, "QKV", strict=True):
        expect_gradient(gradient, f"no gradient reaches {name}: is something detached?")
    steps = [1e-2 * normal(rng, *tensor.shape).float() for tensor in inputs]
    jobs = [
        (*(tensor + (sign * steps[at] if i == at else 0) for i, tensor in enumerate(inputs)), None)
        for at in range(3)
        for sign in (-1, 1)
    ]
    answers = attended(student, *jobs)
    for answer in answers:
        expect_shape(answer, (3, 2), "the result has the shape (..., q, dv)")
    sums = [float((answer.double() * factor).sum()) for answer in answers]
    for at, name in enumerate("QKV"):
        predicted = 2 * float((gradients[at].double() * steps[at]).sum())
        expect_slope(predicted, sums[2 * at + 1] - sums[2 * at], f"attention to {name}")


@check("attention", points=0.5, title="the dtype that came in")
def attention_keeps_the_dtype(student, rng):
    weighs(student, rng)
    Q, K, V = (tensor.double() for tensor in equal_scores(rng, 7, 7, 4))
    expected = V.mean(0).expand(7, 3)
    types = dtypes(student)
    message = "float64, bfloat16 or float16 fails though float32 works: are dtypes mixed? All must keep that of Q, K, V"
    answers = attended(
        student, *((*(z.to(t) for z in (Q, K, V)), None) for t in types), problems={"RuntimeError": message}
    )
    for dtype, answer in zip(types, answers, strict=True):
        name = str(dtype).removeprefix("torch.")
        expect_shape(answer, (7, 3), "the result has the shape (..., q, dv)")
        if answer.dtype != dtype:
            raise Fail(f"{name} goes in and another dtype comes out: return the dtype of the inputs")
        expect(near(answer, expected, 3e-2), "equal scores must give the mean of the values, in every dtype")
    message = "float64 comes back with the precision of float32: do not compute in float32 what comes in float64"
    expect(near(answers[1], expected, 1e-11), message)


@check("attention", points=0.5, title="what is given stays as it is")
def attention_changes_nothing(student, rng):
    weighs(student, rng)
    Q, K, V, mask = masked_values(rng)
    other = normal(rng, 7, 4).float(), normal(rng, 7, 4).float(), V, mask
    manner = manner_of(student)
    jobs = [manner.asks(job) for job in ((Q, K, V, mask), other, (*other[:3], None))]
    answers = ask(student, list_of([anything, [anything] * 4], 3), drive_attention, jobs)
    first = manner.hears(answers[0][0], (Q, K, V, mask))
    expect_shape(first, (7, 3), "the result has the shape (..., q, dv)")
    expect(reading(first, mask, V) != "", MASKED[""])
    for job, (_, after) in zip(jobs, answers, strict=True):
        for name, old, new in zip(("Q", "K", "V", "mask"), job, after, strict=True):
            message = f"{name} was changed: is an operation in place (*=, masked_fill_, logical_not_)?"
            expect(old is None or same(new, old), message)


@drawn
def ordinary_attention(rng) -> tuple[Tensor, ...]:
    """As a model with several heads asks: Q, K, V, the causal mask, and one of the keys of each sequence."""
    Q, K, V = (normal(rng, 2, 3, 6, 8).float() for _ in range(3))
    padding = torch.arange(6) < torch.tensor(rng.sample(range(2, 6), 2))[:, None]
    return Q, K, V, torch.ones(6, 6, dtype=torch.bool).tril(), padding[:, None, None].expand(2, 3, 6, 6)


@check("attention", points=8, title="together: attention of several heads")
def attention_together(student, rng):
    manner = manner_of(student)
    if "library" in manner.lent and "attention" not in manner.lent:
        raise manner.lent["library"]  # paid here, and once
    Q, K, V, *_ = ordinary_attention(rng)
    answer = only(attended(student, (Q, K, V, None)))
    judge_together(answer, attend_to(Q.double(), K.double(), V.double()), "attention to ordinary queries and keys")


@check("attention", points=4, title="together: with a mask")
def masked_attention_together(student, rng):
    Q, K, V, *masks = ordinary_attention(rng)
    masks = [masks[0].expand(2, 3, 6, 6).clone(), masks[1].clone()]
    for mask, answer in zip(masks, attended(student, *((Q, K, V, mask) for mask in masks)), strict=True):
        expected = attend_to(Q.double(), K.double(), V.double(), mask)
        judge_together(answer, expected, "attention with a causal mask, and with one for padding")
