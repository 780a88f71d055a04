"""What `multi_head` asks for: heads side by side, sizes, slots, and a module that trains."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cs336lite.course.answers import either, list_of, same
from cs336lite.course.spec import Fail, StudentError, check, expect

from .asking import ask, expect_gradient, expect_shape, expect_slope, judge, judge_together, near
from .definition import causal_of, join_right, module_of, normed, split_right, weights_for
from .inputs import drawn, normal
from .module import (
    ALONE,
    LINEAR,
    OUTPUT,
    OWN_PARTS,
    SIZES,
    attended_anyhow,
    attends_alone,
    build_of,
    flat_head,
    last,
    like_any,
    of_heads,
    ordinary_module,
    outputs,
    turn_now,
)


def drive_sizes(student, sizes):
    """For each (d_model, heads, options): "made", "ValueError", or "raised" for another exception."""
    answers = []
    for d_model, heads, options in sizes:
        try:
            student.MultiHeadAttention(d_model, heads, **options)
            answers.append("made")
        except ValueError:
            answers.append("ValueError")
        except Exception:
            answers.append("raised")
    return answers


def drive_parameters(student, d_model, heads, options):
    """Name, shape and whether it is trained, of each parameter that the module has registered."""
    module = student.MultiHeadAttention(d_model, heads, **options)
    if not hasattr(module, "named_parameters"):
        return None, []
    found = [(name, list(p.shape), bool(p.requires_grad)) for name, p in module.named_parameters()]
    return found, list(module.state_dict())


@check("multi_head", points=3, title="four projections, registered")
def has_its_parameters(student, rng):
    d_model, heads, d_head = rng.choice([(12, 3, 4), (10, 5, 2), (12, 2, 6)])
    wide = rng.choice([7, 9])
    sizes = {"q_proj": (heads * d_head, d_model), "k_proj": (heads * d_head, d_model)}
    sizes |= {"v_proj": (heads * d_head, d_model), "o_proj": (d_model, heads * d_head)}
    for options, d in (({}, d_head), ({"d_head": wide}, wide), ({"bias": True}, d_head)):
        parameters = list_of([str, SIZES, bool], least=0)
        said = ask(
            student, [either(type(None), parameters), list_of(str, least=0)], drive_parameters, d_model, heads, options
        )
        expect(
            said[0] is not None, "MultiHeadAttention must be an nn.Module: derive from it and call super().__init__()"
        )
        found = {name: tuple(shape) for name, shape, _ in said[0]}
        expect(len(found) > 0, "the module has no parameters: assign each projection as an attribute of its own")
        for name in sizes:
            if not any(other.startswith(name) for other in found):
                raise Fail(f"{name} is missing among the registered parameters: {LINEAR}")
            expect(f"{name}.weight" in found, f"{name} must be an nn.Linear: its weight is called {name}.weight")
            shape = (heads * d, d_model) if name != "o_proj" else (d_model, heads * d)
            expect(
                found[f"{name}.weight"] != shape[::-1] or shape == shape[::-1],
                "a weight is (out_features, in_features)",
            )
            what = (
                "with d_head given, the heads are num_heads * d_head wide together" if "d_head" in options else LINEAR
            )
            expect(found[f"{name}.weight"] == shape, f"the weight of {name} has the wrong shape: {what}")
            has_bias = f"{name}.bias" in found
            expect(has_bias or "bias" not in options, f"bias=True: {name} has no bias")
            expect(not has_bias or "bias" in options, f"{name} has a bias: there is none unless bias=True")
        expect(
            len(found) == (8 if "bias" in options else 4), "there are parameters beside those of the four projections"
        )
        expect(all(trained for _, _, trained in said[0]), "a parameter does not ask for gradients")
        expect(set(found) <= set(said[1]), "a parameter is missing in the state_dict")


@check("multi_head", points=0.5, title="sizes that do not fit are refused")
def refuses_bad_sizes(student, rng):
    attends_alone(student, rng)
    d_head = rng.choice([2, 3, 4])
    good = [(4 * d_head, 4, {}), (4 * d_head, 4, {"num_kv_heads": 2}), (4, 4, {})]
    bad = [
        (4 * d_head, 4, {"num_kv_heads": 3}, "num_heads must be a multiple of num_kv_heads"),
        (4 * d_head, 4, {"num_kv_heads": 8}, "num_heads must be a multiple of num_kv_heads"),
        (4 * d_head + 1, 4, {}, "d_model must be a multiple of num_heads where no d_head is given"),
        (2, 4, {}, "d_model must be a multiple of num_heads where no d_head is given"),
    ]
    answers = ask(student, list_of(str, 7), drive_sizes, [*good, *(job[:3] for job in bad)])
    raises = "with num_kv_heads the module cannot be made: it raises, and no ValueError"
    expect(answers[0] != "made" or answers[1] != "raised", raises)
    expect(answers[:2] == ["made", "made"], "sizes that fit are refused")
    expect(answers[2] == "made", "a head of size 1, where d_model is num_heads, is refused: these sizes fit")
    for (*_, message), answer in zip(bad, answers[3:], strict=True):
        expect(answer != "made", f"sizes that do not fit are taken: {message}, else ValueError")
        expect(answer == "ValueError", f"sizes that do not fit must raise ValueError, not another exception: {message}")


@drawn
def plain_module(rng) -> tuple[Any, ...]:
    heads, d_head = 3, 4
    weights = weights_for(rng, 12, heads, heads, d_head)
    x = normal(rng, 2, 6, 12)
    return weights, x, module_of(x, weights, heads)


HEAD_BY_HEAD = "the output is not that of the heads, one after the other: project, split, attend, join, project"


@check("multi_head", points=2.5, title="each head attends by itself")
def each_head_by_itself(student, rng):
    weights, x, expected = plain_module(rng)
    said = outputs(student, 12, 3, {"causal": False}, weights, [{"x": x}])
    wrong = of_heads(x, weights, 3)
    judge(said["out"][0], expected, HEAD_BY_HEAD, wrong, what=OUTPUT, at=last)


@drawn
def wide_module(rng) -> tuple[Any, ...]:
    weights = weights_for(rng, 8, 3, 3, 5, bias=True)
    x = normal(rng, 2, 4, 8)
    return weights, x, module_of(x, weights, 3)


@check("multi_head", points=1, title="d_head and bias")
def wide_heads(student, rng):
    weights, x, expected = wide_module(rng)
    said = outputs(student, 8, 3, {"causal": False, "d_head": 5, "bias": True}, weights, [{"x": x}])
    without = {name: value for name, value in weights.items() if "bias" not in name}
    wrong = [
        (lambda: module_of(x, without, 3), "the biases are not used"),
        (
            lambda: module_of(x, weights, 3, scale=8**-0.5),
            "the scores are divided by the root of d_model, not of d_head",
        ),
        *of_heads(x, weights, 3),
    ]
    judge(said["out"][0], expected, f"with d_head and biases: {HEAD_BY_HEAD}", wrong, what=OUTPUT, at=last)


@check("multi_head", points=2, title="attend is a slot")
def attend_is_a_slot(student, rng):
    attends_alone(student, rng)
    weights, x, _ = plain_module(rng)
    single, z = flat_head(rng, 5)
    options = {"causal": False}
    marks = [1 + rng.random(), 1 + rng.random()]
    marked = outputs(student, 4, 1, options | {"stand_ins": ["marked"], "marks": marks}, single, [{"x": z}])
    attend = [*marked["attend"], *outputs(student, 12, 3, {}, weights, [{"x": x}])["attend"]]
    never = "the attend that is given is never called: it takes the place of your own attention"
    expect(len(attend) > 0, never)
    out, expected = marked["out"][0], module_of(z, single, 1)
    expect_shape(out, z.shape, OUTPUT)
    expect(not like_any(out, z, [lambda: expected]), "what the given attend returns is not used")
    changed = "what the given attend returns is changed"
    expect(like_any(out, z, [lambda: marks[0] * expected + marks[1]]), changed)
    expect(len(attend) == 2, "attend must be called once, with all heads together")
    q, k, v, _ = attend[1]
    shape = "attend gets Q, K and V of the shape (batch, num_heads, seq, d_head)"
    expect(q == [2, 3, 6, 4] and k == q and v == q, shape)
    kinds = {kind for *_, kind in attend}
    expect(kinds <= {None, "torch.bool"}, "attend must get a boolean mask (True = may attend), or None")
    try:
        own = outputs(student, 12, 3, options | {"stand_ins": ["own"]}, weights, [{"x": x}])["out"][0]
    except StudentError:  # another exercise
        return
    default = outputs(student, 12, 3, options | {"stand_ins": ["default"]}, weights, [{"x": x}])["out"][0]
    expect_shape(default, x.shape, OUTPUT)
    expect(
        near(default, own) or bool(own.isnan().any()), "without attend the module must use scaled_dot_product_attention"
    )


@drawn
def normed_module(rng) -> tuple[Any, ...]:
    weights = weights_for(rng, 12, 3, 3, 4)
    x = normal(rng, 2, 5, 12) * 2
    return weights, x, module_of(x, weights, 3, prepare=lambda q, k, v: (normed(q), normed(k), v))


@check("multi_head", points=1.5, title="qk_norm: one for queries, one for keys")
def normalises_queries_and_keys(student, rng):
    weights, x, expected = normed_module(rng)
    said = outputs(student, 12, 3, {"causal": False, "stand_ins": ["qk_norm"]}, weights, [{"x": x}])
    expect(len(said["made"]) > 0, "qk_norm is not used: it is a factory, qk_norm(d_head) makes a normalisation")
    expect(
        len(said["made"]) != 1,
        "qk_norm is called once: make two, one for queries and one for keys, for each learns its own weights",
    )
    expect(set(said["made"]) == {4}, "qk_norm must be made for d_head features, since it works head by head")
    expect(len(said["made"]) == 2, "qk_norm must be called twice, once for queries and once for keys")
    expect(said["norms"] == 2, "the parameters of the two normalisations must be registered in the module")

    def flat(z: Tensor) -> Tensor:
        return split_right(normed(join_right(z)), 3)

    wrong = [
        (lambda: module_of(x, weights, 3), "queries and keys are not normalised: qk_norm has no effect"),
        (lambda: module_of(x, weights, 3, prepare=lambda q, k, v: (normed(q), k, v)), "the keys are not normalised"),
        (lambda: module_of(x, weights, 3, prepare=lambda q, k, v: (q, normed(k), v)), "the queries are not normalised"),
        (
            lambda: module_of(x, weights, 3, prepare=lambda q, k, v: (normed(q), normed(k), normed(v))),
            "the values are normalised too: only queries and keys are",
        ),
        (
            lambda: module_of(x, weights, 3, prepare=lambda q, k, v: (flat(q), flat(k), v)),
            "all heads are normalised together: qk_norm works on each head by itself, after the split",
        ),
        *of_heads(x, weights, 3, prepare=lambda q, k, v: (normed(q), normed(k), v)),
    ]
    judge(said["out"][0], expected, "queries and keys are not normalised head by head", wrong, what=OUTPUT, at=last)
    turned_too = outputs(student, 12, 3, {"causal": False, "stand_ins": ["qk_norm", "rope"]}, weights, [{"x": x}])
    after = module_of(x, weights, 3, prepare=lambda q, k, v: (normed(turn_now(q)), normed(turn_now(k)), v))
    expect(not near(last(turned_too["out"][0]), last(after)), "qk_norm comes after rope: normalise first, then turn")


@check("multi_head", points=1, title="gradients reach everything")
def module_gradients(student, rng):
    weights, x = flat_head(rng, 3)
    factor = torch.zeros_like(x)
    factor[:, -1] = normal(rng, 2, 4)  # the last token, whatever the mask
    options = {"causal": False}
    said = outputs(student, 4, 1, options | {"factor": factor}, weights, [{"x": x}])
    expect(like_any(said["out"][0], x, attended_anyhow(x, weights), tolerance=1e-3), ALONE)
    gradients = said["gradients"]
    expect(gradients is not None, "no gradient flows through the module: is there a detach, .data, no_grad or numpy?")
    expect_gradient(gradients[0], "no gradient reaches x: is there a detach, .data, no_grad or numpy?")
    for gradient in gradients[1:]:
        expect_gradient(gradient, "a parameter gets no gradient: it is not used, or something is detached")
    steps = [1e-3 * normal(rng, *tensor.shape) for tensor in (x, *weights.values())]
    calls = []
    for sign in (-1, 1):
        weights_there = {name: w + sign * step for (name, w), step in zip(weights.items(), steps[1:], strict=True)}
        calls += [{"x": x + sign * steps[0], "weights": weights}, {"x": x, "weights": weights_there}]
    sums = []
    for out in outputs(student, 4, 1, options, weights, calls)["out"]:
        expect_shape(out, x.shape, OUTPUT)
        sums.append(float((out.detach().double() * factor).sum()))
    along = [2 * float((g.double() * step).sum()) for g, step in zip(gradients, steps, strict=True)]
    expect_slope(along[0], sums[2] - sums[0], "the module")
    expect_slope(sum(along[1:]), sums[3] - sums[1], "the module")


@check("multi_head", points=1, title="the dtype that came in, and x as it was")
def module_keeps_the_dtype(student, rng):
    weights, x, _ = plain_module(rng)
    said = outputs(student, 12, 3, {"causal": False}, weights, [{"x": x}])
    expect_shape(said["out"][0], x.shape, OUTPUT)
    expect(same(said["after"][0], x), "x was changed: is an operation in place?")
    weights, x = flat_head(rng, 4)
    message = "in a module that was converted to another dtype, dtypes are mixed: make new tensors in the dtype of x"
    tolerances = {"float64": 1e-5, "float32": 1e-3, "bfloat16": 0.1}
    calls = [{"x": x, "dtype": name} for name in tolerances]
    answers = outputs(student, 4, 1, {"causal": False}, weights, calls, {"RuntimeError": message})["out"]
    for (name, tolerance), answer in zip(tolerances.items(), answers, strict=True):
        expect_shape(answer, x.shape, OUTPUT)
        if answer.dtype != getattr(torch, name):
            raise Fail(f"{name} goes in and another dtype comes out: return the dtype of x")
        right = like_any(answer, x, attended_anyhow(x, weights), tolerance=tolerance)
        expect(right, f"with one head and in {name}, the output is not that of project, attend, project")


@check("multi_head", points=7.5, title="together: causal self-attention, with your own attention")
def self_attention_together(student, rng):
    if refused := build_of(student).refused:
        raise refused  # paid here, and once
    weights, x = ordinary_module(rng)
    (out,) = outputs(student, 12, 3, OWN_PARTS, weights, [{"x": x, "dtype": "float32"}])["out"]
    expected = module_of(x, weights, 3, allowed=causal_of(6)[None, None])
    judge_together(out, expected, "causal self-attention of three heads, with your own softmax and attention", OUTPUT)


@check("multi_head", points=5, title="together: a step of training")
def training_together(student, rng):
    weights, x = ordinary_module(rng)
    factor = normal(rng, *x.shape)
    said = outputs(student, 12, 3, OWN_PARTS | {"factor": factor}, weights, [{"x": x, "dtype": "float32"}])
    flows = "the gradients of causal self-attention, with your own softmax and attention"
    expect(said["gradients"] is not None, f"{flows}: there are none. Is there a detach, .data, no_grad or numpy?")
    leaves = [tensor.clone().requires_grad_() for tensor in (x, *weights.values())]
    named = dict(zip(weights, leaves[1:], strict=True))
    (module_of(leaves[0], named, 3, allowed=causal_of(6)[None, None]) * factor).sum().backward()
    for gradient, leaf in zip(said["gradients"], leaves, strict=True):
        expect(gradient is not None, f"{flows}: some of x and of the weights get none")
        judge_together(gradient, leaf.grad, flows, "a gradient has the shape of what it belongs to")
