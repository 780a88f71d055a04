"""What is special to the checks of a2_attention; its catalogue is judged in `test_catalogue`."""

import dataclasses
import random
import re
import sys

import catalogue
import pytest
import torch
from catalogue import defined, judge, namespace, solutions, spec

from cs336lite.course.spec import LocalStudent

A2 = "a2_attention"
HIDDEN, PUBLIC = spec(A2, "hidden"), spec(A2, "public")
RIGHT, WRONG, TRIVIAL = (solutions(A2, kind) for kind in ("right", "wrong", "trivial"))
POINTS = {"softmax": 15, "attention": 25, "multi_head": 25, "grouped": 10, "masks": 10, "cross": 5, "positions": 10}


LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")


pytestmark = pytest.mark.usefixtures("one_thread")


def named(*names):
    return [solution for solution in [*RIGHT, *WRONG] if solution.name in names]


# ---------------------------------------------------------------------------------------------------------------------
# The form of the specs


def test_what_is_refused_is_told_by_the_public_checks():
    assert HIDDEN.module.REFUSED[: len(PUBLIC.module.LIBRARY)] == PUBLIC.module.LIBRARY  # and then patterns
    for name in PUBLIC.module.LIBRARY:
        thing = torch
        for part in name.split(".")[1:]:
            thing = getattr(thing, part)


# ---------------------------------------------------------------------------------------------------------------------
# The catalogue


def test_what_is_together_carries_about_half_of_the_points():
    together = [one for one in HIDDEN if one.id.endswith("_together")]
    assert {one.exercise for one in together} == set(POINTS)
    assert sum(one.points for one in together) == 47.5


def test_an_answer_that_is_none_or_no_tensor_is_told_with_what_is_asked_for():
    names = catalogue.namespace(named("right_in_parts")[0].source)
    check = next(one for one in HIDDEN if one.exercise == "softmax")
    for answer, told in ((None, "None came back, is a `return` missing?"), ([[0.5]], "what came back is no tensor:")):
        message = judge(
            dataclasses.replace(HIDDEN, checks=(check,)), {**names, "softmax": lambda x, dim, answer=answer: answer}, 1
        )
        assert message.failed == {check.id: f"{told} softmax keeps the shape of what it is given"}


def test_a_mask_that_is_wrong_in_every_dtype_is_not_blamed_on_one():
    check = next(one for one in PUBLIC if one.id == "attention.attention_dtypes")
    for solution in named("wrong_mask_inverted", "wrong_softmax_over_queries"):
        message = check.run(LocalStudent(namespace(solution.source)), 0).message
        assert message.startswith("this is judged when the mask works in float32"), solution.name


# ---------------------------------------------------------------------------------------------------------------------
# What is sent


def tensors_of(value):
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else []
    return [tensor for part in parts for tensor in tensors_of(part)]


def test_inputs_follow_the_seed_alone():
    """The same seed asks the same questions; another seed asks others in every check."""
    for one in HIDDEN:
        sent = []
        for seed in (1, 1, 2):
            student = catalogue.DetachedStudent(catalogue.namespace(named("right_in_parts")[0].source))
            assert one.run(student, seed).passed, one.id
            sent.append(tensors_of(student.sent))
        first, again, other = sent
        assert len(first) == len(again) and all(map(torch.equal, first, again)), one.id
        same = [torch.equal(a, b) for a, b in zip(first, other) if a.dtype.is_floating_point and a.unique().numel() > 3]
        assert not same or not all(same), one.id


def test_messages_show_no_numbers_that_were_sent():
    for solution in WRONG[::6]:
        judgement = judge(HIDDEN, solution, 3)
        for number in set(re.findall(r"-?\d+\.\d{3}", " ".join(judgement.failed.values()))):
            for sent in tensors_of(judgement.sent):  # which of them would be written so
                assert not ((sent.double() - float(number)).abs() <= 0.0005).any(), (solution.name, number)


# ---------------------------------------------------------------------------------------------------------------------
# Library functions

LIBRARY_SOLUTIONS = {
    "torch.softmax": ("softmax", "def softmax(x, dim):\n    return torch.softmax(x, dim)"),
    "torch.Tensor.softmax": ("softmax", "def softmax(x, dim):\n    return x.softmax(dim)"),
    "torch.log_softmax": ("softmax", "def softmax(x, dim):\n    return torch.log_softmax(x, dim).exp()"),
    "torch.nn.functional.softmax": ("softmax", "def softmax(x, dim):\n    return nn.Softmax(dim)(x)"),
    "torch.nn.functional.scaled_dot_product_attention": (
        "attention",
        "def scaled_dot_product_attention(Q, K, V, mask=None):\n"
        "    return nn.functional.scaled_dot_product_attention(Q, K, V, attn_mask=mask)",
    ),
    "torch.nn.MultiheadAttention": (
        "multi_head",
        "class MultiHeadAttention(MultiHeadAttention):\n    def make_projections(self, bias):\n"
        "        self.inner = nn.MultiheadAttention(self.d_model, self.num_heads, batch_first=True)\n"
        "    def forward(self, x, **rest):\n        return self.inner(x, x, x)[0]",
    ),
}


def with_library(name):
    exercise, source = LIBRARY_SOLUTIONS[name]
    return exercise, named("right_in_parts")[0].source + "\n\n" + source + "\n"


@pytest.mark.parametrize("name", LIBRARY_SOLUTIONS)
def test_public_checks_name_the_library_function(name):
    exercise, source = with_library(name)
    checks = [one for one in PUBLIC if one.exercise == exercise]
    results = [one.run(LocalStudent(catalogue.namespace(source)), 0) for one in checks]
    messages = [result.message for result in results if not result.passed]
    assert any(f"{name} is called" in message for message in messages), messages
    assert torch.softmax(torch.zeros(2), 0).tolist() == [0.5, 0.5]  # put back afterwards


@LINUX
def test_library_functions_raise_in_the_worker():
    from cs336lite.grading.client import Worker
    from cs336lite.grading.judge import needs_of

    with Worker(needs_of(HIDDEN)) as worker:
        for name in LIBRARY_SOLUTIONS:
            exercise, source = with_library(name)
            with worker.student((("1", source),)) as student:
                failed = []
                for one in HIDDEN:
                    if one.exercise == exercise:
                        student.begin(one.seconds)
                        failed.append(one.run(student, 0))
            assert not any(result.passed for result in failed), name
            assert any(f"`{name}` is what this exercise asks you to write" in result.message for result in failed), name


SOFTMAX = {
    "torch.softmax": "torch.softmax(scores, -1)",
    "torch.Tensor.softmax": "scores.softmax(-1)",
    "torch.nn.functional.softmax": "nn.Softmax(-1)(scores)",
}
OWN_ATTENTION = """
def scaled_dot_product_attention(Q, K, V, mask=None):
    scores = Q @ K.mT / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return {softmax} @ V
"""
OWN_MODULE = """
class MultiHeadAttention(MultiHeadAttention):
    def forward(self, *args, **rest):
        self.attend = attend_by_myself
        return super().forward(*args, **rest)
"""


def judged_in_the_worker(source):
    from cs336lite.grading.client import Worker
    from cs336lite.grading.judge import needs_of

    results = []
    with Worker(needs_of(HIDDEN)) as worker, worker.student((("1", source),)) as student:
        for one in HIDDEN:
            student.begin(one.seconds)
            results.append(one.run(student, "lent"))
    return sum(result.points for result in results), {r.id: r.message for r in results if not r.passed}


@LINUX
@pytest.mark.parametrize("name", SOFTMAX)
def test_a_library_softmax_in_attention_is_paid_once(name):
    base = named("right_in_parts")[0].source
    points, failed = judged_in_the_worker(base + OWN_ATTENTION.format(softmax=SOFTMAX[name]))
    assert set(failed) == {"attention.attention_together"}, failed
    assert f"`{name}` is what this exercise asks you to write" in failed["attention.attention_together"]
    assert points == 92


@LINUX
def test_a_library_softmax_in_the_module_is_paid_once():
    own = OWN_ATTENTION.format(softmax="torch.softmax(scores, -1)")
    own = own.replace("scaled_dot_product_attention", "attend_by_myself")
    points, failed = judged_in_the_worker(named("right_in_parts")[0].source + own + OWN_MODULE)
    assert set(failed) == {
        "multi_head.attend_is_a_slot",
        "grouped.repeated_for_attend",
        "multi_head.self_attention_together",
    }, failed
    assert points == 90


@LINUX
def test_a_library_softmax_in_softmax_costs_softmax():
    source = named("right_in_parts")[0].source + LIBRARY_SOLUTIONS["torch.softmax"][1]
    points, failed = judged_in_the_worker(source)
    assert {name.partition(".")[0] for name in failed} == {"softmax"}
    assert points == 85


@LINUX
def test_what_is_lent_earns_no_points_of_softmax():
    """What was lent for a later check is kept by the submission, and does not help it."""
    source = named("right_in_parts")[0].source
    unsolved = "def softmax(x, dim):\n    raise NotImplementedError\n"
    points, failed = judged_in_the_worker(f"{source}\n{unsolved}")
    assert len(failed) == len([one for one in HIDDEN if one.exercise == "softmax"]) and points == 85


# ---------------------------------------------------------------------------------------------------------------------
# As a class meets them: the notebook that is handed out, and the worker that answers are graded in


def in_the_worker(worker, solution):
    failed, spent = [], 0.0
    with worker.student((("1", solution.source),)) as student:
        for one in HIDDEN:
            student.begin(one.seconds)
            result = one.run(student, "worker")
            failed += [] if result.passed else [result.id]
            spent = student.spent
    return set(failed), spent


@LINUX
def test_float16_is_judged_in_the_worker():
    """Without it -1e9 in float16 passes: torch must be able to convert float16 where work is graded."""
    from cs336lite.grading.client import Worker
    from cs336lite.grading.judge import needs_of

    with Worker(needs_of(HIDDEN)) as worker:
        with worker.student((("1", "x = 1"),)) as student:
            student.begin(10)
            if not student.run(defined(HIDDEN).drive_float16):
                pytest.skip("torch cannot convert float16 inside this machine's jail: it does not see the processor")
        solution = named("wrong_mask_large_negative")[0]
        assert in_the_worker(worker, solution)[0] == set(solution.fails)


# ---------------------------------------------------------------------------------------------------------------------
# The checks' own definition of right against the library


def test_the_checks_attention_agrees_with_the_library():
    checks, rng = defined(HIDDEN), random.Random(7)
    for front in ((), (2,), (2, 3)):
        Q, K, V = (checks.normal(rng, *front, *size) for size in ((4, 6), (5, 6), (5, 3)))
        mask = checks.normal(rng, 4, 5) > -1
        mask[:, 0] = True
        library = torch.nn.functional.scaled_dot_product_attention(Q, K, V, attn_mask=mask)
        assert torch.allclose(checks.attend_to(Q, K, V, mask), library)


def test_the_checks_module_agrees_with_the_library():
    checks, rng = defined(HIDDEN), random.Random(8)
    w, x = checks.weights_for(rng, 12, 3, 3, 4), checks.normal(rng, 2, 5, 12)
    library = torch.nn.MultiheadAttention(12, 3, bias=False, batch_first=True, dtype=torch.float64)
    library.in_proj_weight.data = torch.cat([w[f"{name}_proj.weight"] for name in "qkv"])
    library.out_proj.weight.data = w["o_proj.weight"]
    causal = checks.causal_of(5)
    theirs = library(x, x, x, attn_mask=~causal, need_weights=False)[0]
    assert torch.allclose(checks.module_of(x, w, 3, allowed=causal[None, None]), theirs)


def test_masks_that_are_regular():
    checks, rng = defined(HIDDEN), random.Random(9)
    for _ in range(20):
        mask = checks.regular_mask(rng, 7, 3)
        assert set(mask.sum(0).tolist()) == set(mask.sum(1).tolist()) == {3}


def test_a_softmax_that_raises_is_told_by_its_own_exception():
    """One that divides by a sum without its dimension works for square scores, so the plain call of attention does."""
    source = named("right_in_parts")[0].source
    wrong = source.replace("total = powers.sum(dim, keepdim=True)", "total = powers.sum(dim)")
    assert wrong != source
    failed = judge(HIDDEN, namespace(wrong), 1).failed
    said = [message for id, message in failed.items() if id.startswith("attention.")]
    assert said and not any("must broadcast" in one or "may differ in number" in one for one in said)
    assert sum("your code raised RuntimeError" in one for one in said) >= 4


def test_a_module_that_knows_no_groups_is_not_told_that_it_refuses_sizes():
    (solution,) = [one for one in solutions(A2, "wrong") if one.name == "wrong_no_options"]
    assert (
        "with num_kv_heads the module cannot be made"
        in judge(HIDDEN, solution, 0).failed["multi_head.refuses_bad_sizes"]
    )
