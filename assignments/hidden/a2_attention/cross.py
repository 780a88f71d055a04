"""What `cross` asks for: padding, and keys and values from a context."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cs336lite.course.spec import check, expect

from .asking import TENSOR, ask, expect_shape, judge, judge_together, near
from .definition import causal_of, module_of, normed
from .inputs import drawn, normal, one_head
from .module import OUTPUT, OWN_PARTS, attends_alone, ordinary_module, outputs, seen_by, turn_now, uncaused


def drive_padding_mask(student, lengths, k):
    return student.padding_mask(lengths, k)


@drawn
def two_sequences(rng) -> tuple[Any, ...]:
    weights, x = one_head(rng, 4)
    return weights, x, normal(rng, 2, 7, 4), normal(rng, 2, 3, 4)


@check("cross", points=1, title="padding_mask")
def masks_the_padding(student, rng):
    k = rng.choice([5, 6, 7])
    lengths = torch.tensor([*rng.sample(range(1, k), 3), k, 0])
    mask = ask(student, TENSOR, drive_padding_mask, lengths, k)
    right = (torch.arange(k) < lengths[:, None])[:, None, None]
    expect(mask.dtype == torch.bool, "padding_mask must give booleans: True = may attend")
    expect(mask.shape == right.shape, "padding_mask must give the shape (batch, 1, 1, k)")
    expect(not torch.equal(mask, ~right), "padding_mask is inverted: True for the first lengths[b] keys")
    one_more = (torch.arange(k) <= lengths[:, None])[:, None, None]
    expect(not torch.equal(mask, one_more), "padding_mask lets one key too many through: it begins to count at 0")
    expect(torch.equal(mask, right), "padding_mask must be True for the first lengths[b] keys, and for no others")


LENGTH_OF_X = "the output has the length of x, not of the context"


@check("cross", points=1, title="keys and values come from the context")
def reads_the_context(student, rng):
    attends_alone(student, rng)
    weights, x, long, short = two_sequences(rng)
    message = "with a context, queries come from x, and keys and values from the context"
    even = long[:, :4]
    uncaused(student, 4, 1, {}, weights, [{"x": x, "context": even}])  # if this fails, it is neither length nor mask
    for causal in (False, True):
        options = {} if causal else {"causal": False}
        for context in (even, long, short):
            problem = "the causal mask is applied to a context" if causal else f"{message}, of another length than x"
            problems = dict.fromkeys(["RuntimeError", "ValueError", "IndexError"], problem)
            said = outputs(student, 4, 1, options, weights, [{"x": x, "context": context}], problems)
            k = context.shape[1]
            from_the_left = torch.arange(k) <= torch.arange(4)[:, None]
            from_the_right = torch.arange(k) - k <= torch.arange(4)[:, None] - 4
            causal_too = "the causal mask is applied to a context"
            wrong = [
                (lambda: module_of(x, weights, 1), "the context is not used"),
                (lambda: seen_by(x, weights, causal_of(4)), "the context is not used"),
                (lambda z=context, c=from_the_left: seen_by(x, weights, c, context=z), causal_too),
                (lambda z=context, c=from_the_right: seen_by(x, weights, c, context=z), causal_too),
            ]
            expected = module_of(x, weights, 1, context=context)
            judge(said["out"][0], expected, message, wrong, what=LENGTH_OF_X)


@check("cross", points=0.5, title="with a context: no rope and no cache, but qk_norm")
def context_without_positions(student, rng):
    attends_alone(student, rng)
    weights, x, context, _ = two_sequences(rng)
    calls = [{"x": x, "context": context}]
    uncaused(student, 4, 1, {}, weights, calls)  # if this fails, it is neither rope nor qk_norm
    said = uncaused(student, 4, 1, {"stand_ins": ["rope"]}, weights, calls)

    def turn(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        return turn_now(q), turn_now(k), v

    expected = module_of(x, weights, 1, context=context)
    wrong = [
        (
            lambda: module_of(x, weights, 1, context=context, prepare=turn),
            "rope is applied although there is a context: positions in two sequences cannot be compared",
        ),
        (
            lambda: module_of(x, weights, 1, context=context, prepare=lambda q, k, v: (turn_now(q), k, v)),
            "rope turns the queries although there is a context",
        ),
        (lambda: module_of(x, weights, 1), "the context is not used"),
        (lambda: module_of(x, weights, 1, prepare=turn), "the context is not used"),
    ]
    judge(said["out"][0], expected, "with a context rope does not apply", wrong, what=LENGTH_OF_X)
    cached = uncaused(student, 4, 1, {}, weights, [{"x": x, "context": context, "cache": True}])
    expect(cached["cache"] == [], "with a context nothing goes into the cache: it keeps what stands before x")
    normed_too = uncaused(student, 4, 1, {"stand_ins": ["qk_norm"]}, weights, calls)["out"][0]
    right = module_of(x, weights, 1, context=context, prepare=lambda q, k, v: (normed(q), normed(k), v))
    nothing = "with a context queries and keys are not normalised: qk_norm applies there, too"
    expect_shape(normed_too, x.shape, LENGTH_OF_X)
    expect(near(normed_too, right) or not near(normed_too, expected), nothing)  # other mistakes: other checks' affair


@check("cross", points=0.5, title="with a context: the mask that is given")
def context_with_a_mask(student, rng):
    attends_alone(student, rng)
    weights, x, context, _ = two_sequences(rng)
    allowed = (torch.arange(7) < torch.tensor([4, 4])[:, None])[:, None, None]
    full = allowed.expand(2, 1, 4, 7)
    for options in ({"causal": False}, {}):
        padded = outputs(student, 4, 1, options, weights, [{"x": x, "context": context, "mask": allowed}])["out"][0]
        if near(padded, module_of(x, weights, 1, context=context, allowed=~full)):
            continue  # an inverted mask is another exercise's affair
        wrong = [(lambda: module_of(x, weights, 1, context=context), "with a context the mask has no effect")]
        message = "the mask that is given does not apply to the context"
        expected = module_of(x, weights, 1, context=context, allowed=full)
        judge(padded, expected, message, wrong, what=LENGTH_OF_X)


@check("cross", points=2, title="together: attention to a padded context")
def context_together(student, rng):
    weights, x = ordinary_module(rng)
    context = normal(rng, 2, 9, 12)
    padding = (torch.arange(9) < torch.tensor(rng.sample(range(5, 9), 2))[:, None])[:, None, None]
    call = {"x": x, "context": context, "mask": padding, "dtype": "float32"}
    (out,) = outputs(student, 12, 3, OWN_PARTS, weights, [call])["out"]
    expected = module_of(x, weights, 3, context=context, allowed=padding.expand(2, 1, 6, 9))
    judge_together(out, expected, "three heads that attend to a padded context, with your own attention", OUTPUT)
