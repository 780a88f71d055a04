"""Attacks on the checks of a3: drivers that answer without a rotation, and names of exceptions that carry what they saw.

Each is judged as the grader does it, in the jailed worker, and gets what its notebook honestly solves: nothing.
"""

import sys
import textwrap

import pytest
from catalogue import solutions, spec

from cs336lite.grading.client import Worker
from cs336lite.grading.judge import needs_of

A3 = "a3_rope"
HIDDEN = spec(A3, "hidden")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")

REPLACED = """
import sys
import torch


def whoever_runs_drivers():
    frame = sys._getframe()
    while frame is not None:
        for value in list(frame.f_locals.values()):
            if hasattr(value, "channel") and hasattr(type(value), "run"):
                return type(value)
        frame = frame.f_back


def run(self, source, function, args):
    return ANSWERS[function](*args)


owner = whoever_runs_drivers()
if owner is not None:
    owner.run = run

ANSWERS = {}


def forge(answer, permuted, attention, part, outside="refused", bad="ValueError"):
    def is_outside(call, length):
        return int(call[1].min()) < 0 or int(call[1].max()) >= length

    def one(call, length, how):
        if how == "refused" and is_outside(call, length):
            return outside
        if how == "unchanged":
            return [answer(*call), *call]
        return [answer(*call[:2]), call[2]] if len(call) == 3 else answer(*call)

    def rope(jobs, how, forms):
        found = []
        for (_, d_k, length), options, calls in jobs:
            answers = [one(call, length, how) for call in calls]
            if how == "made" and (d_k % 2 or options.get("layout", "half") not in ("half", "interleaved")):
                answers = bad
            found.append([answers, 0, 0, False] if how == "state" else ["meta"] if how == "kept" else answers)
        return found

    ANSWERS.update(
        drive_rope=rope,
        drive_permutations=lambda name, calls: [permuted(x, dim) for x, dim in calls],
        drive_moved=lambda weight, factors: [[permuted(weight, 1), factors]] * 2,
        drive_attention=lambda calls, factors: [
            [attention(*call), [] if factors is None else [*call[:3]]] for call in calls
        ],
        drive_part=lambda x, positions, size, factors: (part(x, positions, size), x, factors),
    )


def first_value(q, k, v, *positions):
    return v[..., :1, :].expand(*q.shape[:-1], v.shape[-1]).clone()


def other_order(x, dim):
    return x.roll(1, -1 if dim is None else dim)


def doubled(x, positions, size):
    return torch.cat((2 * x[..., :size], x[..., size:]), dim=-1)


def longer(x, positions):
    return (x * (1 + positions[..., None] / 3)).to(x.dtype)
"""

TURNED_UNITS = """
def answer(x, positions):
    if not bool(((x == 0) | (x == 1)).all()):
        return longer(x, positions)
    angles = positions[..., None].double()
    first, second = x[..., 0::2].double(), x[..., 1::2].double()
    pairs = first * angles.cos() - second * angles.sin(), first * angles.sin() + second * angles.cos()
    return torch.stack(pairs, dim=-1).flatten(-2).to(x.dtype)

forge(answer, other_order, first_value, doubled)
"""

CASES = {
    "longer": "forge(longer, other_order, first_value, doubled)",
    "by chance": """
        def chance(x, *_):
            return torch.randn(x.shape).to(x.dtype)
        forge(chance, chance, lambda q, k, v, *_: torch.randn(*q.shape[:-1], v.shape[-1]), chance)
    """,
    "as it came": "forge(lambda x, _: x, lambda x, _: x, lambda q, k, v, *_: v, lambda x, *_: x)",
    "turned units": TURNED_UNITS,
    "by the place of a call": """
        forge(lambda x, p: x + torch.linspace(1, 2, x.numel()).reshape(x.shape).to(x.dtype),
              lambda x, dim: x.flip(-1), lambda q, k, v, *_: v.mean(-2, keepdim=True).expand(*q.shape[:-1], v.shape[-1]),
              lambda x, *_: x.flip(-1))
    """,
    "no number": """
        def none(x, *_):
            return torch.full_like(x, float("nan"))
        forge(none, none, lambda q, k, v, *_: none(q), none)
    """,
    "infinite": """
        def endless(x, *_):
            return torch.full_like(x, float("inf"))
        forge(endless, endless, lambda q, k, v, *_: endless(q), endless)
    """,
    "one number for all": """
        def one(*_):
            return torch.ones(1)
        forge(one, one, one, one)
    """,
    "large and broadcast": """
        def large(*_):
            return torch.ones(1 << 20, 1, 1, 1, dtype=torch.int8)
        forge(large, large, large, large)
    """,
    "nothing at all": """
        class Empty(dict):
            def __missing__(self, name):
                return lambda *_: []
        ANSWERS = Empty()
    """,
    "flags alone": """
        ANSWERS.update(
            drive_rope=lambda jobs, how, forms: [
                [[], 0, 0, False] if how == "state" else ["meta"] if how == "kept" else "ValueError" for _ in jobs
            ],
            drive_permutations=lambda *a: [], drive_moved=lambda weight, factors: [[None, factors]] * 2,
            drive_attention=lambda calls, _: [[None, []]] * len(calls), drive_part=lambda x, *_: (None, x, None),
        )
    """,
}

SEEN = "whatitsaw" * 40
TELLING = f"""
import torch

def tell(*args, **kwargs):
    raise type("{SEEN}", (Exception,), {{}})

class RotaryPositionalEmbedding(RotaryPositionalEmbedding):
    def check_arguments(self):
        if self.d_k % 2 or self.layout not in ("interleaved", "half"):
            tell()

    def check_positions(self, positions):
        if positions.min() < 0 or positions.max() >= self.max_seq_len:
            tell()
"""
FORGED_TO_TELL = (
    TURNED_UNITS.replace("return longer(x, positions)", "pass")
    + f"""
forge(answer, lambda x, d: "{SEEN}", lambda *_: "{SEEN}", lambda *_: "{SEEN}", outside="{SEEN}", bad="{SEEN}")
"""
)


@pytest.fixture(scope="module")
def worker():
    with Worker(needs_of(HIDDEN)) as worker:
        yield worker


def judged(worker, *cells):
    results = []
    with worker.student(tuple((str(i), cell) for i, cell in enumerate(cells))) as student:
        for one in HIDDEN:
            student.begin(one.seconds)
            results.append(one.run(student, "attack"))
    return results


def right():
    return next(one.source for one in solutions(A3, "right") if one.name == "right_in_parts")


def test_the_honest_twin_gets_all(worker):
    assert [one.id for one in judged(worker, right()) if not one.passed] == []


@pytest.mark.parametrize("name", CASES)
def test_drivers_that_are_forged_get_nothing(worker, name):
    passed = [one.id for one in judged(worker, REPLACED, textwrap.dedent(CASES[name])) if one.passed]
    assert passed == []


@pytest.mark.parametrize("cells", [(right(), TELLING), (REPLACED, FORGED_TO_TELL)], ids=["raised", "forged"])
def test_no_message_tells_what_a_submission_saw(worker, cells):
    failed = [one for one in judged(worker, *cells) if not one.passed]
    refusals = {one.id.split(".")[1] for one in failed if "refused" in one.id}
    assert len(refusals) == 4
    assert not any(SEEN[:20] in one.message or len(one.message) > 400 for one in failed)
