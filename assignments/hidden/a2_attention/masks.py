"""What `masks` asks for: the causal mask, and one that is given.

There is one head, so that the split does not matter; d_head is d_model.
"""

from __future__ import annotations

from typing import Any

import torch

from cs336lite.course.spec import check, expect

from .asking import expect_shape, is_like, judge, judge_together, near
from .definition import causal_of, module_of, weights_for
from .inputs import drawn, normal, one_head
from .module import (
    OUTPUT,
    OWN_PARTS,
    attended_anyhow,
    build_of,
    forgiven,
    last,
    like_any,
    mask_taken,
    masks_of,
    ordinary_module,
    outputs,
    seen_by,
    uncaused,
)


@check("masks", points=2.5, title="nobody sees what comes later")
def nobody_sees_the_future(student, rng):
    weights, x = one_head(rng)
    said = outputs(student, 4, 1, {}, weights, [{"x": x}])
    n = x.shape[1]
    causal, *others = masks_of(n)
    messages = [
        "a token sees the one after it: the causal mask is off by one",
        "a token does not see itself: the causal mask is off by one",
        "every token sees those after it: causal=True is the default",
        "the causal mask is inverted: a token sees only what comes after it",
        "the causal mask is transposed: a token sees itself and what comes after it",
    ]
    wrong = [
        (lambda mask=mask: seen_by(x, weights, mask), message) for mask, message in zip(others, messages, strict=True)
    ]
    judge(
        said["out"][0],
        seen_by(x, weights, causal),
        "a token must attend to itself and to what comes before it",
        wrong,
        what=OUTPUT,
    )


@check("masks", points=0.5, title="causal=False: everybody sees everybody")
def everybody_sees_everybody(student, rng):
    weights, x = one_head(rng)
    expect("causal" not in build_of(student).without, "the keyword argument causal is not accepted")
    said = outputs(student, 4, 1, {"causal": False}, weights, [{"x": x}])
    wrong = [
        (lambda: seen_by(x, weights, causal_of(x.shape[1])), "causal=False is ignored: there must be no causal mask")
    ]
    judge(said["out"][0], seen_by(x, weights, None), "with causal=False every token attends to all", wrong, what=OUTPUT)


@drawn
def masked_module(rng) -> tuple[Any, ...]:
    weights, x = one_head(rng)
    n = x.shape[1]
    given = torch.ones(n, n, dtype=torch.bool)
    for row in range(1, n):
        given[row, rng.sample(range(row + 1), 1)] = False
        given[row, rng.choice([row, 0])] = True
    given[n - 1, :] = torch.tensor([i % 2 == 1 for i in range(n)])
    return weights, x, given


@check("masks", points=1, title="both masks must allow it")
def both_must_allow(student, rng):
    weights, x, given = masked_module(rng)
    causal = mask_taken(student, x, weights)
    alone = outputs(student, 4, 1, {"causal": False}, weights, [{"x": x, "mask": given}])["out"][0]
    both = outputs(student, 4, 1, {}, weights, [{"x": x, "mask": given}])["out"][0]
    inverted = "the mask is inverted: True means that a query may attend to the key"
    wrong = [
        (lambda: seen_by(x, weights, ~given), inverted),
        (lambda: seen_by(x, weights, None), "the mask that is given has no effect"),
    ]
    expect_shape(alone, x.shape, OUTPUT)
    if not near(alone, seen_by(x, weights, given & causal)):  # causal=False ignored: another check's affair
        judge(alone, seen_by(x, weights, given), "the mask that is given is not followed", wrong, what=OUTPUT)
    wrong = [
        (lambda: seen_by(x, weights, given), "the mask that is given replaces the causal mask: both must allow a key"),
        (
            lambda: seen_by(x, weights, causal),
            "the mask that is given has no effect when causal: both must allow a key",
        ),
        (
            lambda: seen_by(x, weights, causal | given),
            "the masks are combined by or: both must allow a key, so it is and",
        ),
        (lambda: seen_by(x, weights, ~given & causal), inverted),
    ]
    judge(both, seen_by(x, weights, given & causal), "the two masks are not combined by and", wrong, what=OUTPUT)


@drawn
def broadcast_masks(rng) -> tuple[Any, ...]:
    """Two heads that have the same weights, so that they differ by the mask only."""
    single = weights_for(rng, 4, 1, 1, 4)
    weights = {name: torch.cat([w, w], 1 if name[0] == "o" else 0) for name, w in single.items()}
    x = normal(rng, 2, 4, 4)
    lengths = torch.tensor(rng.sample(range(1, 4), 2))
    padding = (torch.arange(4) < lengths[:, None])[:, None, None]
    by_head = torch.stack([torch.eye(4).bool() | (torch.arange(4) == i) for i in rng.sample(range(4), 2)])[None]
    full = padding & by_head | torch.eye(4).bool()
    return weights, x, [padding, by_head, full]


@check("masks", points=0.5, title="a mask for the batch, for each head, or both")
def masks_broadcast(student, rng):
    weights, x, masks = broadcast_masks(rng)
    message = "mask must broadcast to (batch, num_heads, q, k): (batch, 1, 1, k) and (1, num_heads, q, k) are masks too"
    problems = dict.fromkeys(["RuntimeError", "ValueError", "IndexError", "EinopsError"], message)
    calls = [{"x": x, "mask": mask} for mask in masks]
    options = {"causal": False, "d_head": 4}
    outputs(student, 4, 2, options, weights, [{"x": x, "mask": masks[2]}])  # if this fails, it is not the broadcasting
    said = outputs(student, 4, 2, options, weights, calls, problems)
    for mask, out in zip(masks, said["out"], strict=True):
        allowed = mask.expand(2, 2, 4, 4)
        expected = module_of(x, weights, 2, allowed=allowed)
        if forgiven(out, expected, x, weights, 2, allowed=allowed):
            continue
        wrong = [(lambda allowed=allowed: module_of(x, weights, 2, allowed=~allowed), "the mask is inverted")]
        judge(out, expected, message, wrong, what=OUTPUT, at=last)


@drawn
def one_head_with_a_past(rng) -> tuple[Any, ...]:
    """One head, x, and where it is cut in two: what stands before the cut has a share in the output behind it."""
    for _ in range(200):
        weights, x = one_head(rng, 5)
        cut = rng.choice([2, 3])
        whole = module_of(x[:, cut:], weights, 1, context=x)
        if not like_any(whole, x[:, cut:], attended_anyhow(x[:, cut:], weights), tolerance=1e-2):
            return weights, x, cut
    raise AssertionError("no suitable input was found")


@check("masks", points=0.5, title="a mask and a cache")
def mask_with_a_cache(student, rng):
    weights, x, cut = one_head_with_a_past(rng)
    given = torch.ones(5, 5, dtype=torch.bool)
    given[:, rng.randrange(1, cut)] = False
    given[4, 0] = False
    first, second = x[:, :cut], x[:, cut:]
    start = {"x": first, "cache": True}
    plain = uncaused(student, 4, 1, {}, weights, [start, {"x": second, "cache": True}])["out"][1]
    lost = like_any(plain, second, attended_anyhow(second, weights))
    expect(not lost, "this is judged when a cache is used: update gives all keys and values, old and new")
    masked = uncaused(student, 4, 1, {}, weights, [start, {"x": second, "cache": True, "mask": given[cut:]}])["out"][1]
    expect_shape(masked, second.shape, OUTPUT)
    expect_shape(plain, second.shape, OUTPUT)
    expect(not near(last(plain), last(masked)), "with a cache the mask that is given has no effect")
    inverted = module_of(second, weights, 1, context=x, allowed=~given[cut:][None, None])
    if is_like(lambda: inverted, last, masked):
        return  # another check's affair
    expected = module_of(second, weights, 1, context=x, allowed=given[cut:][None, None])
    message = "with a cache the mask, a row for each query and a column for each key, is not followed"
    judge(masked, expected, message, what=OUTPUT, at=last)


@check("masks", points=5, title="together: causal, and padded")
def masks_together(student, rng):
    weights, x = ordinary_module(rng)
    padding = (torch.arange(6) < torch.tensor(rng.sample(range(2, 6), 2))[:, None])[:, None, None]
    call = {"x": x, "mask": padding, "dtype": "float32"}
    (out,) = outputs(student, 12, 3, OWN_PARTS, weights, [call])["out"]
    expected = module_of(x, weights, 3, allowed=padding & causal_of(6))
    judge_together(out, expected, "causal self-attention to a padded batch, with your own attention", OUTPUT)
