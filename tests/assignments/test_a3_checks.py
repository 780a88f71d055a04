"""What is special to the checks of a3_rope; its catalogue is judged in `test_catalogue`."""

import sys

import catalogue
import pytest
import torch
from catalogue import defined, judge, solutions, spec

from cs336lite import rope

A3 = "a3_rope"
HIDDEN, PUBLIC = spec(A3, "hidden"), spec(A3, "public")
RIGHT, WRONG, TRIVIAL, HOLLOW = (solutions(A3, kind) for kind in ("right", "wrong", "trivial", "hollow"))


pytestmark = pytest.mark.usefixtures("one_thread")


def paths(second, first=None, number=6):
    """Matrices whose first column holds two numbers that change with the position m."""
    found = torch.eye(4, dtype=torch.float64).repeat(number, 1, 1)
    m = torch.arange(number, dtype=torch.float64)
    found[:, 1, 0] = second(m)
    if first:
        found[:, 0, 0] = first(m)
    return found


ROUND = {
    "one way": paths(lambda m: m.sin(), lambda m: m.cos()),
    "the other way": paths(lambda m: -m.sin(), lambda m: m.cos()),
    "degrees": paths(lambda m: m.deg2rad().sin(), lambda m: m.deg2rad().cos()),
    "from one": paths(lambda m: (m + 1).sin(), lambda m: (m + 1).cos()),
    "exchanged": paths(lambda m: m.cos(), lambda m: m.sin()),
    "long": paths(lambda m: 3 * m.sin(), lambda m: 3 * m.cos()),
    "beside x": paths(lambda m: m.sin(), lambda m: 1 + m.cos()),
    "rows": paths(lambda m: m.sin(), lambda m: m.cos()).mT,
    "rounded": paths(lambda m: m.sin(), lambda m: m.cos()).bfloat16().double(),
}
STRAIGHT = {
    "nothing": paths(lambda m: 0 * m),
    "all alike": paths(lambda m: 0 * m + 0.5, lambda m: 0 * m + 0.5),
    "longer": paths(lambda m: 0 * m, lambda m: 1 + m / 3),
    "longer askew": paths(lambda m: m / 7, lambda m: 1 + m / 3),
    "there and back": paths(lambda m: 0 * m, lambda m: m.cos()),
    "signs": paths(lambda m: (-1) ** m, lambda m: (-1) ** m),
    "squares": paths(lambda m: m * m / 50, lambda m: m / 5),
    "faster and faster": paths(lambda m: (m * m / 5).sin(), lambda m: (m * m / 5).cos()),
    "a spiral": paths(lambda m: (m + 1) * m.sin(), lambda m: (m + 1) * m.cos()),
}


@pytest.mark.parametrize("name", [*ROUND, *STRAIGHT])
def test_what_goes_round_is_told_from_what_does_not(name):
    assert defined(HIDDEN).goes_round({**ROUND, **STRAIGHT}[name]) is (name in ROUND)


def flatten(value):
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from flatten(item)
    elif isinstance(value, torch.Tensor):
        yield value


def test_inputs_follow_the_seed_alone():
    """The same seed asks the same questions; another seed asks others."""
    first, again, other = ([t.double() for t in flatten(judge(HIDDEN, vars(rope), seed).sent)] for seed in (1, 1, 2))
    assert len(first) > 60 and len(first) == len(again) == len(other)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    real = [(a, b) for a, b in zip(first, other) if a.dim() > 1 and not torch.equal(a, a.round())]
    assert len(real) > 30 and not any(a.shape == b.shape and torch.equal(a, b) for a, b in real)


# ---------------------------------------------------------------------------------------------------------------------
# Public checks: what they say of small functions that are wrong


def clockwise(x, cos, sin):
    return rope.rotate_pairs(x, cos, -sin)


def overwriting(x, cos, sin):
    x[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
    return x


def narrow(x, cos, sin):
    return rope.rotate_pairs(x.float(), cos, sin)


def turns_values(given, q, k, v, q_positions, k_positions):
    return rope.rotary_attention(given, q, k, given(v, k_positions), q_positions, k_positions)


@pytest.mark.parametrize(
    ("name", "function", "check", "message"),
    [
        ("rotation_angles", lambda p, d, t: rope.rotation_angles(p, 2 * d, t)[..., : d // 2], "by_hand", "twice as large"),
        ("rotation_angles", lambda p, d, t: rope.rotation_angles(p + 1, d, t), "by_hand", "position 0 has the angle 0"),
        ("rotation_angles", lambda p, d, t: rope.rotation_angles(p, d, t).bfloat16(), "far_away", "must be float32"),
        ("rotate_pairs", clockwise, "quarter", "turn counter-clockwise"),
        ("rotate_pairs", rope.rotate_halves, "quarter", "the other layout"),
        ("rotate_pairs", overwriting, "lengths", "x has changed"),
        ("rotate_pairs", narrow, "lengths", "come back in bfloat16"),
        ("rotate_halves", rope.rotate_pairs, "quarter_half", "the dimensions 0 and 2"),
        ("interleaved_to_half", rope.half_to_interleaved, "both_ways", "from half to interleaved"),
        ("interleaved_to_half", lambda x, dim=-1: x[..., [*range(0, x.shape[-1], 2), *range(1, x.shape[-1], 2)]],
         "any_dimension", "must permute the rows"),
        ("look_up", lambda table, positions: table[: positions.numel()], "rows", "the positions are ignored"),
        ("look_up", lambda table, positions: table[positions], "outside", "a position of -1"),
        ("rotary_attention", turns_values, "single_key", "values are turned"),
        ("rotate_part", lambda r, x, p, n: r(x, p), "four_of_ten", "must stay as they are"),
        ("rotate_pairs", lambda x, cos, sin: rope.rotate_pairs(x.detach(), cos, sin), "gradient", "no gradient"),
        ("rotate_halves", lambda x, cos, sin: rope.rotate_halves(x.float(), cos, sin), "half_keeps", "in bfloat16"),
        ("interleaved_to_half", lambda x, dim: rope.interleaved_to_half(x, dim), "default_dimension", "the last dimension"),
    ],
)  # fmt: skip
def test_public_checks_name_the_mistake(name, function, check, message):
    failed = judge(PUBLIC, {**vars(rope), name: function}, 0).failed
    said = {key.split(".")[1]: text for key, text in failed.items()}
    assert message in said[check]


class Half(rope.RotaryPositionalEmbedding):
    def __init__(self, *arguments, layout="interleaved"):
        super().__init__(*arguments, layout="half")


class Saved(rope.RotaryPositionalEmbedding):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.register_buffer("kept", self.table)


class Wrapping(rope.RotaryPositionalEmbedding):
    def forward(self, x, token_positions):
        return super().forward(x, token_positions % self.max_seq_len)


class Detached(rope.RotaryPositionalEmbedding):
    def forward(self, x, token_positions):
        return super().forward(x.detach(), token_positions)


class Library(rope.RotaryPositionalEmbedding):
    def forward(self, x, token_positions):
        import torch.onnx.ops

        cos, sin = self.table.chunk(2, dim=-1)
        positions = token_positions.expand(x.shape[:-1]).reshape(1, -1)
        interleaved = self.layout == "interleaved"
        options = {"interleaved": interleaved, "num_heads": 1}
        flat = x.reshape(1, -1, x.shape[-1])
        return torch.onnx.ops.rotary_embedding(flat, cos, sin, positions, **options).reshape(x.shape)


@pytest.mark.parametrize(
    ("mistaken", "check", "message"),
    [
        (Half, "first_positions", 'layout "interleaved"'),
        (Half, "arguments", "no layout 'spiral'"),
        (Saved, "state", "holds kept"),
        (Wrapping, "none_known", "there is no position 8"),
        (Detached, "learning", "no gradient"),
        (Library, "own", "turn the pairs yourself"),
    ],
)
def test_public_checks_name_the_mistakes_of_a_module(mistaken, check, message):
    failed = judge(PUBLIC, {**vars(rope), "RotaryPositionalEmbedding": mistaken}, 0).failed
    assert message in failed[f"module.{check}"]


# ---------------------------------------------------------------------------------------------------------------------
# As a class meets them: the notebook that is handed out, and the worker that answers are graded in


LIBRARY = """
import torch
from torch import nn


class RotaryPositionalEmbedding(nn.Module):
    def __init__(self, theta, d_k, max_seq_len, device=None):
        super().__init__()
        angles = torch.arange(max_seq_len)[:, None] * theta ** -(torch.arange(0, d_k, 2) / d_k)
        self.cos, self.sin = angles.cos(), angles.sin()

    def forward(self, x, token_positions):
        positions = token_positions.expand(x.shape[:-1]).reshape(1, -1)
        turned = torch.onnx.ops.rotary_embedding(
            x.reshape(1, -1, x.shape[-1]), self.cos, self.sin, positions, interleaved=True, num_heads=1
        )
        return turned.reshape(x.shape)
"""


def in_the_worker(source):
    from cs336lite.grading.client import Worker
    from cs336lite.grading.judge import needs_of

    results = []
    with Worker(needs_of(HIDDEN)) as worker, worker.student((("1", source),)) as student:
        for one in HIDDEN:
            student.begin(one.seconds)
            results.append(one.run(student, "worker"))
    return results


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")


@linux
def test_the_librarys_rotation_is_refused_in_the_worker():
    results = in_the_worker(LIBRARY)
    turning = [one for one in results if one.exercise in ("angles", "rotation")]
    assert sum(one.points for one in results) == 0
    assert all("rotary_embedding" in one.message for one in turning), turning
    judgement = judge(HIDDEN, catalogue.namespace(LIBRARY), "worker")  # where it is not refused, it is right
    assert not {one for one in judgement.failed if one.split(".")[0] in ("angles", "rotation")} - {
        "rotation.dtype_is_kept",
        "rotation.float64_stays_exact",
        "rotation.gradients_come_back",  # it has none
        "rotation.whole_rotations_agree",
    }
