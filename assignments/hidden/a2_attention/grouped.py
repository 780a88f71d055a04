"""What `grouped` asks for: keys and values that neighbouring heads share."""

from __future__ import annotations

from typing import Any

import torch

from cs336lite.course.spec import check, expect

from .asking import expect_shape, judge, judge_together
from .definition import causal_of, module_of, weights_for
from .inputs import drawn, normal, symmetric
from .module import OUTPUT, OWN_PARTS, attends_alone, forgiven, last, like_any, of_heads, outputs


@check("grouped", points=1.5, title="fewer projections for keys and values")
def fewer_projections(student, rng):
    attends_alone(student, rng)
    message = "k_proj and v_proj must have num_kv_heads * d_head outputs each: sharing saves parameters and cache"
    for kv_heads in (1, 2, 3):
        weights, x, expected = shared_heads(rng, kv_heads, 1)
        problems = {"WrongShape": message}
        said = outputs(student, 12, 6, {"causal": False, "num_kv_heads": kv_heads}, weights, [{"x": x}], problems)
        expect_shape(said["out"][0], x.shape, OUTPUT)
        makes = [lambda y=expected: y, *(make for make, _ in of_heads(x, weights, 6, kv_heads=kv_heads))]
        if kv_heads == 1:  # with more, who shares with whom is the next check's affair
            message = "with one token the output is its value, projected"
            expect(like_any(said["out"][0], x, makes), message)


@drawn
def shared_heads(rng, kv_heads: int, seq: int) -> tuple[Any, ...]:
    """With one token the split into heads does not matter, nor what is done to the scores."""
    weights = weights_for(rng, 12, 6, kv_heads, 2)
    weights |= {"q_proj.weight": symmetric(rng, 12) / 4, "o_proj.weight": torch.eye(12, dtype=torch.float64)}
    x = normal(rng, 2, seq, 12)
    return weights, x, module_of(x, weights, 6, kv_heads)


@check("grouped", points=2, title="neighbours share a head of keys and values")
def neighbours_share(student, rng):
    attends_alone(student, rng)
    tiled = (
        "query heads share keys and values in turn (a b a b): neighbours share (a a b b), so repeat each head, not all"
    )
    for kv_heads in (2, 3):
        weights, x, expected = shared_heads(rng, kv_heads, 1)
        said = outputs(student, 12, 6, {"causal": False, "num_kv_heads": kv_heads}, weights, [{"x": x}])
        wrong = [
            (lambda w=weights, x=x, n=kv_heads: module_of(x, w, 6, n, share=lambda h, group, kv: h % kv), tiled),
            (
                lambda w=weights, x=x, n=kv_heads: module_of(x, w, 6, n, share=lambda h, group, kv: 0),
                "all query heads use the first head of keys and values",
            ),
            *of_heads(x, weights, 6, kv_heads=kv_heads),
        ]
        message = "query head h must use head h // (num_heads // num_kv_heads) of keys and values"
        judge(said["out"][0], expected, message, wrong, what=OUTPUT)


@check("grouped", points=1, title="one head for all: MQA")
def one_for_all(student, rng):
    weights, x, expected = shared_heads(rng, 1, 5)
    said = outputs(student, 12, 6, {"causal": False, "num_kv_heads": 1}, weights, [{"x": x}])
    if forgiven(said["out"][0], expected, x, weights, 6, kv_heads=1):
        return
    message = "with num_kv_heads=1 all query heads use the same keys and values"
    judge(said["out"][0], expected, message, what=OUTPUT, at=last)


@check("grouped", points=0.5, title="attend gets keys and values of all heads")
def repeated_for_attend(student, rng):
    attends_alone(student, rng)
    weights, x, _ = shared_heads(rng, 2, 5)
    said = outputs(student, 12, 6, {"causal": False, "num_kv_heads": 2}, weights, [{"x": x}])
    expect(len(said["attend"]) == 1, "attend must be called once, with all heads together")
    q, k, v, _ = said["attend"][0]
    expect(q == [2, 6, 5, 2] and k == q and v == q, "attend must get keys and values repeated to num_heads")


@check("grouped", points=5, title="together: causal self-attention with shared heads")
def grouped_together(student, rng):
    weights, x = weights_for(rng, 12, 6, 2, 2), normal(rng, 2, 6, 12)
    options = OWN_PARTS | {"num_kv_heads": 2}
    (out,) = outputs(student, 12, 6, options, weights, [{"x": x, "dtype": "float32"}])["out"]
    expected = module_of(x, weights, 6, 2, allowed=causal_of(6)[None, None])
    judge_together(out, expected, "six heads that share two of keys and values, with your own attention", OUTPUT)
