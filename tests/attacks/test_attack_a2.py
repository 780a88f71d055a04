"""Attacks on the checks of a2_attention: answers that nothing computes, notes of calls that were never made, slopes.

Each is judged as the grader judges, behind the wall, and gets at most a few points beyond what it earns; the reference
gets everything.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from catalogue import spec

from cs336lite import attention

HIDDEN = spec("a2_attention", "hidden")
REFERENCE = Path(attention.__file__).read_text(encoding="utf-8")
PARAMETERS = 3  # names and shapes alone, which anybody can say

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")

# A submission that answers drivers itself: ``forged`` are called in their place, with the right answer as the last
# argument, a function.
FORGE = """
import sys
import torch

frame, forged = sys._getframe(), {}
while frame is not None and not hasattr(frame.f_locals.get("self"), "channel"):
    frame = frame.f_back
kind = type(frame.f_locals["self"])


def run(self, source, function, args, honest=kind.run):
    if function not in forged:
        return honest(self, source, function, args)
    return forged[function](*args, lambda: honest(self, source, function, args))


kind.run = run


def instead(function):
    forged[function.__name__] = function
    return function
"""

EMPTY = """
NAMES = ("softmax", "attention", "attention_gradients", "attention_with_none", "padding_mask", "sizes", "lend", "parameters")
for name in (*NAMES, "module"):
    forged["drive_" + name] = lambda *args: []
forged["drive_float16"] = lambda *args: False
"""

# All in the right shapes, and with notes of everything that a right module would do; ``number`` makes the numbers.
SHAPES = """
def numbers(*shape):
    return number(torch.empty(shape, dtype=torch.float64))


@instead
def drive_float16(honest):
    return True


@instead
def drive_softmax(jobs, honest):
    return [(numbers(*x.shape).to(x.dtype), x) for x, dim in jobs]


@instead
def drive_softmax_gradient(x, dim, factor, honest):
    return numbers(*x.shape)


@instead
def drive_attention(jobs, honest):
    answers = []
    for job in jobs:
        Q, K, V, mask = job
        front = torch.broadcast_shapes(Q.shape[:-2], K.shape[:-2], V.shape[:-2])
        out = numbers(*front, Q.shape[-2], V.shape[-1])
        answers.append((out.to(Q.dtype), [*job]))
    return answers


@instead
def drive_attention_with_none(Q, K, V, honest):
    return [numbers(*Q.shape[:-1], V.shape[-1])] * 2


@instead
def drive_padding_mask(lengths, k, honest):
    return numbers(len(lengths), 1, 1, k) > 0


@instead
def drive_sizes(sizes, honest):
    return ["made", "made", *["ValueError"] * 4]


@instead
def drive_attention_gradients(Q, K, V, mask, factor, honest):
    return [numbers(*tensor.shape).to(tensor.dtype) for tensor in (Q, K, V)]


@instead
def drive_parameters(d_model, heads, options, honest):
    width = heads * (options.get("d_head") or d_model // heads)
    sizes = {f"{name}_proj.weight": [width, d_model] if name != "o" else [d_model, width] for name in "qkvo"}
    if options.get("bias"):
        sizes |= {name.replace("weight", "bias"): size[:1] for name, size in sizes.items()}
    return [(name, size, True) for name, size in sizes.items()], list(sizes)


@instead
def drive_module(d_model, heads, options, weights, calls, honest):
    shape = [len(calls[0]["x"]), heads, calls[0]["x"].shape[1], options.get("d_head") or d_model // heads]
    outs = [numbers(*call["x"].shape).to(getattr(torch, call.get("dtype", "float64"))) for call in calls]
    if len(calls) == 2:
        outs[1] = outs[0]
    slopes = [numbers(*tensor.shape) for tensor in (calls[0]["x"], *weights.values())]
    kept = numbers(shape[0], options.get("num_kv_heads", heads), *shape[2:])
    return {
        "out": outs,
        "after": [] if "factor" in options else [call["x"] for call in calls],
        "gradients": slopes if "factor" in options else None,
        "made": shape[-1:] * 2,
        "norms": 2,
        "fused": False,
        "attend": [(shape, shape, shape, None)],
        "norm": [],
        "rope": noted_positions(calls),
        "cache": [(kept, kept)],
    }
"""

POSITIONS = """
def noted_positions(calls):
    found, start = [], 0
    for call in calls:
        count = call["x"].shape[1]
        given = call.get("token_positions")
        at = torch.arange(start, start + count) if given is None else given
        found.append(at.expand(len(call["x"]), count).clone())
        start += count if call.get("cache") else 0
    return found
"""
ALL = FORGE + POSITIONS + SHAPES

# Without a softmax, but with what it is of equal scores, and with one score far above the rest.
MEANS = """
@instead
def drive_attention(jobs, honest):
    answers = []
    for job in jobs:
        Q, K, V, mask = job
        scores = Q.double() @ K.double().mT
        seen = (scores >= scores.amax(-1, keepdim=True) - 1e-6).double()
        if mask is not None:
            seen = (scores == scores).double() * mask
        means = seen / seen.sum(-1, keepdim=True).clamp(min=1) @ V.double()
        answers.append((means.to(Q.dtype), [*job]))
    return answers
"""

NO_ROPE = """
import torch

before = MultiHeadAttention.forward


def forward(self, x, **rest):
    self.rope = None
    return before(self, x, **rest)


MultiHeadAttention.forward = forward
"""
NOTED = """
@instead
def drive_module(d_model, heads, options, weights, calls, honest):
    return honest() | {"rope": noted_positions(calls)}
"""

SLOPES = """
@instead
def drive_softmax_gradient(x, dim, factor, honest):
    return slope(x)


@instead
def drive_attention_gradients(Q, K, V, mask, factor, honest):
    return [slope(tensor) for tensor in (Q, K, V)]


@instead
def drive_module(d_model, heads, options, weights, calls, honest):
    said = honest()
    if said["gradients"]:
        said["gradients"] = [slope(tensor) for tensor in (calls[0]["x"], *weights.values())]
    return said
"""


@dataclass(frozen=True)
class Attack:
    name: str
    source: str
    most: float  # what it earns, and at most a few points more


ATTACKS = [
    Attack("empty lists for an answer", FORGE + EMPTY, 0),
    Attack("random numbers", ALL + "number = torch.Tensor.normal_", PARAMETERS),
    Attack("zeros", ALL + "number = torch.zeros_like", PARAMETERS),
    Attack("ones", ALL + "number = torch.ones_like", PARAMETERS),
    Attack("not a number", ALL + "number = lambda t: torch.full_like(t, torch.nan)", PARAMETERS),
    Attack("infinity", ALL + "number = lambda t: torch.full_like(t, torch.inf)", PARAMETERS),
    Attack("one number for a tensor", ALL + "number = lambda t: torch.tensor(0.5, dtype=t.dtype)", PARAMETERS),
    Attack("means for attention", ALL + "number = torch.zeros_like" + MEANS, PARAMETERS),
    Attack("no rope", REFERENCE + NO_ROPE, 92),
    Attack("no rope, but notes of it", REFERENCE + NO_ROPE + FORGE + POSITIONS + NOTED, 95),
    Attack("slopes of zero", REFERENCE + FORGE + SLOPES + "slope = torch.zeros_like", 93),
    Attack("slopes of one", REFERENCE + FORGE + SLOPES + "slope = torch.ones_like", 94),
    Attack("infinite slopes", REFERENCE + FORGE + SLOPES + "slope = lambda t: torch.full_like(t, torch.inf)", 93),
    Attack("enormous slopes", REFERENCE + FORGE + SLOPES
           + "slope = lambda t: torch.ones(2 << 20, 1, 1, 1, dtype=torch.int8)", 93),
]  # fmt: skip


@pytest.fixture(scope="module")
def judged():
    """The points of a submission, and what the checks said, behind the wall, in one worker for all."""
    from cs336lite.grading.client import Worker
    from cs336lite.grading.judge import needs_of

    with Worker(needs_of(HIDDEN)) as worker:

        def judge(source: str, seed: str) -> tuple[float, list[str]]:
            results = []
            with worker.student((("1", source),)) as student:
                for one in HIDDEN:
                    student.begin(one.seconds)
                    results.append(one.run(student, seed))
            return sum(result.points for result in results), [result.message for result in results]

        yield judge


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_attack(judged, attack):
    points, messages = judged(attack.source, "attack")
    assert attack.most - 5 <= points <= attack.most, messages  # not less, or it stumbles over something else
    assert not any("is not defined" in message for message in messages)  # it answered each question


@pytest.mark.parametrize("seed", range(2))
def test_the_reference_keeps_everything(judged, seed):
    points, messages = judged(REFERENCE, f"honest {seed}")
    assert points == 100, messages


def test_right_answers_that_pass_through_other_hands_keep_everything(judged):
    source = FORGE + "for name in ('softmax', 'attention', 'module'):\n    forged['drive_' + name] = lambda *a: a[-1]()"
    points, messages = judged(REFERENCE + source, "honest")
    assert points == 100, messages
