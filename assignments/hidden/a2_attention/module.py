"""Asking the module: how it is built, what it says, and which causal mask it uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from cs336lite.course.answers import anything, either, like, list_of
from cs336lite.course.spec import StudentError, expect

from .asking import TENSOR, ask, is_like, near, once, only
from .definition import join_by_view, join_interleaved, module_of, split_by_view, split_interleaved, turned, weights_for
from .drivers import drive_module
from .inputs import drawn, normal, one_head
from .manner import Manner, lend, manner_of, problem_of

LINEAR = "q_proj, k_proj, v_proj and o_proj must each be an nn.Linear of the module"
OF_THE_MODULE = {
    "NoProjection": f"a projection cannot be found, by its name or by its shape: {LINEAR}",
    "WrongShape": (
        "a projection is missing, its weight has another name, or another shape than the interface says: q_proj num_heads * d_head outputs, k_proj and v_proj "
        "num_kv_heads * d_head, o_proj d_model, each weight (out_features, in_features)"
    ),
    "NoPositions": "rope is called without positions: where forward is given none, they are 0, 1, 2, …",
    "PositionsDoNotBroadcast": (
        "rope gets token positions that do not broadcast to x.shape[:-1]: (batch, seq) needs a dimension for the heads"
    ),
    "RopeExchanged": "rope gets positions where queries or keys stand: its arguments are x and token_positions, in this order",
    "RopeOtherTokens": (
        "rope gets queries or keys with another number of tokens than positions: x is (batch, heads, seq, d_head) there, "
        "and token_positions ends in seq"
    ),
}
OUTPUT = "the output of the module has the shape of x"


def last(tensor: Tensor) -> Tensor:
    """The last token, which may see all: whatever the causal mask, its output is the same."""
    return tensor[:, -1]


SIZES = list_of(int, least=0, most=64)
SAID = {
    "gradients": type(None),
    "made": list_of(int, least=0),
    "norms": int,
    "fused": bool,
    "attend": list_of([SIZES, SIZES, SIZES, either(type(None), str)], least=0),
    "norm": list_of(SIZES, least=0),
    "rope": list_of(TENSOR, least=0),
    "cache": list_of([TENSOR, TENSOR], least=0),
}


@dataclass
class Build:
    """How a solution's module is made and filled where several ways are right or cost their points elsewhere.

    ``without`` are the options that it does not know, ``by_head`` says how one weight holds queries, keys and values,
    ``short`` that it works in float32 alone, and ``refused`` what it raised when it called the library.
    """

    without: tuple[str, ...] = ()
    by_head: bool = False
    short: bool = False
    refused: StudentError | None = None


BUILDS: WeakKeyDictionary[Any, Build] = WeakKeyDictionary()


def build_of(student) -> Build:
    """How this solution's module is asked: found out once."""
    manner = manner_of(student)
    if student not in BUILDS:
        BUILDS[student] = find_build(student, manner)
    return BUILDS[student]


def find_build(student, manner: Manner) -> Build:
    rng, build = Random(3), Build()  # no secret: which of several right answers comes is what counts
    weights, x = weights_for(rng, 12, 3, 3, 4), normal(rng, 2, 5, 12)
    expected = module_of(x, weights, 3)

    def out() -> dict:
        return said_by(student, build, 12, 3, {"causal": False, "stand_ins": ["attend"]}, weights, [{"x": x}])

    for build.short in (False, True):
        for build.without in ((), ("attend",), ("causal",), ("attend", "causal")):
            error = problem_of(out)
            if error is not None and error.kind == "LibraryCall" and "library" not in manner.lent:
                build.refused = manner.lent["library"] = error
                lend(student, manner)
                error = problem_of(out)
            if error is None:
                said = out()
                right = like_any(said["out"][0], x, [lambda: expected], tolerance=1e-3)
                build.by_head = said["fused"] and not right
                return build
            if error.kind != "TypeError":
                break
        if error.kind != "RuntimeError":
            break
    return Build(refused=build.refused)


def outputs(student, d_model: int, heads: int, options: dict, weights: dict, calls: list[dict], problems=None) -> dict:
    """What `drive_module` says, with ``attend`` filled in unless ``stand_ins`` says otherwise.

    With "default" among them it is the student's own, if there is one.
    """
    build = build_of(student)
    asked_for = options.get("stand_ins", [])
    stand_ins = [name for name in asked_for if name != "default"]
    own = {"marked", "own", "default"} if "attention" not in manner_of(student).lent else {"marked", "own"}
    if not own & set(asked_for):
        stand_ins.append("attend")
    return said_by(student, build, d_model, heads, options | {"stand_ins": stand_ins}, weights, calls, problems)


def said_by(
    student, build: Build, d_model: int, heads: int, options: dict, weights: dict, calls: list[dict], problems=None
) -> dict:
    options = {name: value for name, value in options.items() if name not in build.without}
    options["stand_ins"] = [name for name in options["stand_ins"] if name not in build.without]
    options |= {"by_head": build.by_head, "short": build.short}
    problems = OF_THE_MODULE | (problems or {})
    form = SAID | {"out": list_of(anything, len(calls)), "after": list_of(anything, len(calls))}
    if "factor" in options:
        slopes = [either(type(None), like(tensor, finite=False)) for tensor in (calls[0]["x"], *weights.values())]
        form |= {"after": [], "gradients": either(type(None), slopes)}
    said = ask(student, form, drive_module, d_model, heads, options, weights, calls, problems=problems)
    expect(all(isinstance(out, Tensor) for out in said["out"]), "forward must return a tensor")
    return said


@drawn
def flat_head(rng, n: int) -> tuple[Any, ...]:
    """`one_head` with small scores, so that every key has its share; and not all so small that powers of e are straight."""
    for _ in range(200):
        weights, x = one_head(rng, n)
        weights |= {name: weights[name] / 4 for name in ("q_proj.weight", "k_proj.weight")}
        q, k, v = (x @ weights[f"{name}_proj.weight"].mT for name in "qkv")
        scores = q @ k.mT
        straight = torch.where(scores > 0, 1 + scores, scores.exp())
        shared = straight / straight.sum(-1, keepdim=True) @ v
        if not like_any(shared, x, attended_anyhow(x, weights), tolerance=3e-3):
            return weights, x
    raise AssertionError("no suitable input was found")


ALONE = "this is judged when a module with one head attends: project, attend, project"


@once
def attends_alone(student, rng) -> None:
    """Fail for a module that does not attend at all, before a side of it is judged: the last token, with one head."""
    weights, x = flat_head(rng, 5)
    out = only(uncaused(student, 4, 1, {}, weights, [{"x": x}])["out"])
    expect(like_any(out, x, attended_anyhow(x, weights), tolerance=1e-3), ALONE)


def uncaused(student, d_model: int, heads: int, options: dict, weights: dict, calls: list[dict]) -> dict:
    """`outputs` with causal=False, or if that fails without, for the last token."""
    try:
        return outputs(student, d_model, heads, options | {"causal": False}, weights, calls)
    except StudentError:
        return outputs(student, d_model, heads, options, weights, calls)


def attended_anyhow(x: Tensor, weights: dict, **rest: Any) -> list[Callable[[], Tensor]]:
    """The output with one head; and if the module calls its own attention, which may have its own mistakes."""
    return [lambda scale=scale: module_of(x, weights, 1, scale=scale, **rest) for scale in (None, 1.0, 1 / x.shape[-1])]


def like_any(out: Tensor, x: Tensor, makes: Iterable[Callable], at: Callable = last, tolerance: float = 1e-5) -> bool:
    """Whether the output is one of these, or one of these added to x: `each_head_by_itself` judges that."""
    return any(is_like(one, at, out, tolerance) for make in makes for one in (make, lambda make=make: make() + x))


def of_heads(x: Tensor, weights: dict, heads: int, **rest: Any) -> list[tuple[Callable[[], Tensor], str]]:
    """Misconceptions about heads, with their messages."""

    def other(**part: Any) -> Callable[[], Tensor]:
        return lambda: module_of(x, weights, heads, **(rest | part))

    split = (
        "the heads are cut out by a view alone, which mixes tokens with heads: (batch, seq, head * d_head) becomes "
        "(batch, seq, head, d_head), then the dimensions change places"
    )
    join = "the heads are joined by a view alone, which mixes tokens with heads: transpose back first"
    order = "head h must own the features from h * d_head on: the features are dealt out in turn"
    d_model = x.shape[-1]
    root = "the scores are divided by the root of d_model: what counts is the size of one head"
    return [
        (other(split=split_by_view), split),
        (other(split=split_by_view, join=join_by_view), split),
        (other(join=join_by_view), join),
        (other(split=split_interleaved, join=join_interleaved), order),
        (other(split=split_interleaved), order),
        (other(join=join_interleaved), order),
        (other(scale=d_model**-0.5), root),
        (other(scale=1.0), "the scores are not scaled: divide them by the root of d_head"),
        (other(transposed=True), "the weights are used the wrong way round: a projection is x @ weight.T"),
        (other(project=False), "o_proj is not used: the joined heads are projected once more"),
    ]


def forgiven(answer: Any, expected: Tensor, x: Tensor, weights: dict, heads: int, **rest: Any) -> bool:
    """Whether the last token is wrong in nothing but what `each_head_by_itself` judges."""
    if is_like(lambda: expected, last, answer):
        return False
    return any(is_like(make, last, answer) for make, _ in of_heads(x, weights, heads, **rest))


def turn_now(heads: Tensor) -> Tensor:
    return turned(heads, torch.arange(heads.shape[2]))


def seen_by(x: Tensor, weights: dict, allowed: Tensor | None, **rest: Any) -> Tensor:
    return module_of(x, weights, 1, allowed=None if allowed is None else allowed[None, None], **rest)


def masks_of(n: int) -> tuple[Tensor, ...]:
    """The causal mask, and what is taken for it."""
    ones = torch.ones(n, n, dtype=torch.bool)
    return ones.tril(), ones.tril(1), ones.tril(-1), ones, ones.triu(1), ones.triu()


def mask_taken(student, x: Tensor, weights: dict) -> Tensor:
    """The causal mask that a solution uses, right or wrong: `nobody_sees_the_future` judges it."""
    out = outputs(student, 4, 1, {}, weights, [{"x": x}])["out"][0]
    candidates = masks_of(x.shape[1])
    return next((mask for mask in candidates if near(out, seen_by(x, weights, mask))), candidates[0])


OWN_PARTS = {"stand_ins": ["default"]}


@drawn
def ordinary_module(rng) -> tuple[Any, ...]:
    weights = weights_for(rng, 12, 3, 3, 4)
    return weights, normal(rng, 2, 6, 12)
