"""The exercises of lecture 09: right answers in other words pass, and wrong ones are told what is wrong with them."""

import pytest
import torch
from helpers import ROOT

from cs336lite.course.check import public_spec, run_checks
from cs336lite.course.spec import LocalStudent


def told(exercise: str, source: str) -> list[str]:
    """The messages of the checks that an answer fails."""
    namespace = {"torch": torch}
    exec(source, namespace)
    results = run_checks(public_spec(ROOT, "09_inference"), LocalStudent(namespace), exercise)
    return [result.message for result in results if not result.passed]


def cache_bytes(formula: str) -> str:
    return f"def cache_bytes(layers, heads, d, tokens, itemsize=2): return {formula}"


PAD = """
def left_pad(prompts, fill=0):
    longest = max(len(p) for p in prompts)
    rows = [{row} for p in prompts]
    return torch.tensor(rows), torch.tensor([{count} for p in prompts])
"""


def pad(row="[fill] * (longest - len(p)) + p", count="longest - len(p)"):
    return PAD.format(row=row, count=count)


PENALISE = """
def penalise(logits, written, penalty):
    z = logits.clone()
    for i in set(written.tolist()):
        z[i] = z[i] / penalty if z[i] > 0 else z[i] * penalty
    return z
"""
WASTED = """
def wasted_share(lengths, slots):
    steps = 0
    for i in range(0, len(lengths), slots):
        part = lengths[i:i + slots]
        steps += max(part) * len(part)
    return (steps - sum(lengths)) / steps
"""
ASYMMETRIC = """
def asymmetric(groups, bits):
    low = groups.min(-1, keepdim=True).values
    step = (groups.max(-1, keepdim=True).values - low) / (2 ** bits - 1)
    back = low + ((groups - low) / step).round() * step
    return torch.where(step > 0, back, groups)
"""


@pytest.mark.parametrize(
    ("exercise", "source"),
    [
        ("cache_bytes", cache_bytes("layers * (heads * d + heads * d) * itemsize * tokens")),
        ("left_pad", pad(row="[*([fill] * longest), *p][-longest:]")),
        ("penalise", PENALISE),
        ("tokens_per_pass", "def tokens_per_pass(a, k): return k + 1 if a == 1 else (1 - a ** (k + 1)) / (1 - a)"),
        ("wasted_share", WASTED),
        ("asymmetric", ASYMMETRIC),
    ],
)
def test_right_answers_in_other_words_pass(exercise, source):
    assert told(exercise, source) == []


@pytest.mark.parametrize(
    ("exercise", "source", "message"),
    [
        ("cache_bytes", cache_bytes("layers * heads * d * tokens * itemsize"), "a key and a value"),
        ("cache_bytes", cache_bytes("2 * heads * d * tokens * itemsize"), "all layers"),
        ("cache_bytes", cache_bytes("2 * layers * heads * d * tokens"), "itemsize is missing"),
        ("cache_bytes", cache_bytes("2 * layers * heads * d * itemsize"), "327"),
        ("left_pad", pad(row="p + [fill] * (longest - len(p))"), "padded on the right"),
        ("left_pad", pad(count="len(p)"), "padding counts what stands before them"),
        ("left_pad", pad(row="[0] * (longest - len(p)) + p"), "fill stands before"),
        ("left_pad", PAD.format(row="p.__init__([fill] * (longest - len(p)) + p) or p", count="0"), "stay as they are"),
        ("penalise", PENALISE.replace("z[i] * penalty", "z[i] / penalty"), "multiply it"),
        ("penalise", "def penalise(z, w, p): return torch.where(z > 0, z / p, z * p)", "keep their logits"),
        ("penalise", PENALISE.replace("set(written.tolist())", "written.tolist()"), "penalised once"),
        ("penalise", PENALISE.replace("logits.clone()", "logits"), "work on a copy"),
        ("tokens_per_pass", "def tokens_per_pass(a, k): return 1 + k * a", "alpha ** 2"),
        ("tokens_per_pass", "def tokens_per_pass(a, k): return sum(a ** i for i in range(1, k + 1))", "one is certain"),
        ("tokens_per_pass", "def tokens_per_pass(a, k): return sum(a ** i for i in range(k))", "k + 1 parts"),
        ("wasted_share", WASTED.replace("(steps - sum(lengths)) / steps", "steps - sum(lengths)"), "divide by all"),
        ("wasted_share", WASTED.replace("(steps - sum(lengths))", "sum(lengths)"), "that is used"),
        ("wasted_share", WASTED.replace("    steps = 0", "    steps, lengths = 0, sorted(lengths)"), "not sorted"),
        ("wasted_share", WASTED.replace("len(part)\n", "slots\n"), "has one row"),
        ("wasted_share", WASTED.replace("max(part)", "max(lengths)"), "its own longest"),
        ("asymmetric", "def asymmetric(groups, bits): return groups", "nothing was rounded"),
        ("asymmetric", ASYMMETRIC.replace("2 ** bits - 1", "2 ** bits"), "2 ** bits - 1 steps"),
        ("asymmetric", ASYMMETRIC.replace("(-1, keepdim=True).values", "()"), "in each group"),
        ("asymmetric", ASYMMETRIC.replace("torch.where(step > 0, back, groups)", "back"), "divided by it"),
    ],
)
def test_a_wrong_answer_is_told_what_is_wrong(exercise, source, message):
    assert any(message in said for said in told(exercise, source)), told(exercise, source)
