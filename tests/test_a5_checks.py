"""The checks of a5_moe_router, tested: right solutions in many styles pass, and each wrong one fails where it is wrong."""

import ast
import random
import re
import sys

import catalogue
import nbformat
import pytest
import torch
from catalogue import ROOT, judge, solutions, spec, words_of

from cs336lite import router

A5 = "a5_moe_router"
HIDDEN, PUBLIC = spec(A5, "hidden"), spec(A5, "public")
RIGHT, WRONG, TRIVIAL = (solutions(A5, kind) for kind in ("right", "wrong", "trivial"))
POINTS = {"gates": 25, "balance": 20, "z_loss": 10, "router": 10, "dispatch": 35}
SMALL_FUNCTIONS = ("top_k_gates", "load_balancing_loss", "router_z_loss")  # a plain solution may do without them
NOTEBOOK = ROOT / "assignments" / "source" / A5 / f"{A5}.ipynb"
NO_ANSWER = "the answer does not have the form"  # what a check says that stumbled itself
NAMES = {
    "False",
    "float16",
    "bfloat16",
    "float64",
    "load_balancing_loss",
    "renormalize",
    "weights",
    "z_loss",
    "indices",
    "logits",
}  # sent too
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")


@pytest.fixture(autouse=True)
def one_thread():
    """As in the grader; tensors here are too small for more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def by_name(found):
    return [pytest.param(solution, id=solution.name) for solution in found]


def named(name):
    return next(solution for solution in [*RIGHT, *WRONG, *TRIVIAL] if solution.name == name)


# ---------------------------------------------------------------------------------------------------------------------
# The form of the specs, and the catalogue


def test_points_of_each_exercise():
    assert HIDDEN.exercises == POINTS and HIDDEN.max_points == 100
    assert set(PUBLIC.exercises) == set(POINTS) and PUBLIC.max_points == 0
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    graded = [cell.metadata.nbgrader for cell in cells if cell.metadata.get("nbgrader", {}).get("grade")]
    assert {one.grade_id.removeprefix("grade_"): one.points for one in graded} == POINTS
    table = re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", cells[0].source, re.M)
    assert {name: int(points) for name, points in table} == POINTS


def test_hints_come_in_three_layers_and_every_exercise_says_where_to_read_on():
    assert list(PUBLIC.hints) == list(POINTS) == list(HIDDEN.module.READ)
    for exercise, layers in PUBLIC.hints.items():
        assert len(set(layers)) == len(layers) == 3 and all(len(layer) > 40 for layer in layers), exercise


def test_catalogue_is_large_and_says_what_it_expects():
    assert len(RIGHT) >= 6 and len(WRONG) >= 70 and len(TRIVIAL) >= 6
    assert all(solution.names for solution in WRONG)
    assert {one.id for one in HIDDEN} == {name for solution in WRONG for name in solution.fails}


def test_solution_files_stand_alone():
    for solution in [*RIGHT, *WRONG, *TRIVIAL]:
        assert catalogue.BASE_LINE.strip() not in solution.source.splitlines(), solution.name
        assert {"TopKRouter", "dispatch"} <= set(catalogue.namespace(solution.source, solution.name))


@pytest.mark.parametrize("solution", by_name(RIGHT))
def test_right_solutions_get_full_marks(solution):
    judgement = judge(HIDDEN, solution, "right")
    assert judgement.failed == {} and judgement.score == 100
    failed = judge(PUBLIC, solution, 0).failed
    assert all(any(f"`{name}` is not defined" in said for name in SMALL_FUNCTIONS) for said in failed.values()), failed


def as_numbers(value):
    """The same with lists in place of tensors."""
    if isinstance(value, (list, tuple)):
        return [as_numbers(item) for item in value]
    return value.tolist() if isinstance(value, torch.Tensor) else value


def expect_named_mistakes(solution, seed):
    judgement = judge(HIDDEN, solution, seed)
    failed = judgement.failed
    assert set(failed) == set(solution.fails)
    assert solution.names in failed[solution.fails[0]]
    assert not any(NO_ANSWER in message for message in failed.values())
    shown = words_of(list(failed.values())) & words_of(as_numbers(judgement.sent))
    assert shown <= NAMES, "a message shows what was asked"


@pytest.mark.parametrize("solution", by_name(WRONG))
def test_wrong_solutions_fail_exactly_where_they_are_wrong(solution):
    expect_named_mistakes(solution, "wrong")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("solution", by_name(WRONG))
def test_verdicts_do_not_depend_on_the_seed(solution, seed):
    expect_named_mistakes(solution, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_right_for_forty_more_seeds(seed):
    for solution in RIGHT:
        assert judge(HIDDEN, solution, seed).failed == {}, solution.name


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True to a scalar")
@pytest.mark.parametrize("solution", by_name(TRIVIAL))
def test_trivial_solutions_score_nothing(solution):
    judgement = judge(HIDDEN, solution, "trivial")
    assert judgement.score == 0
    assert not any(NO_ANSWER in message for message in judgement.failed.values())
    if solution.name == "trivial_unsolved":
        assert all("not solved yet" in message for message in judgement.failed.values())


@pytest.mark.parametrize("solution", by_name([one for one in WRONG if "\npoints:" in one.path.read_text("utf-8")]))
def test_points_are_in_proportion_to_the_mistake(solution):
    docstring = ast.get_docstring(ast.parse(solution.path.read_text(encoding="utf-8")))
    least, most = map(float, catalogue.field(docstring, "points").split("-"))
    assert least <= judge(HIDDEN, solution, "points").score <= most


def test_each_exercise_is_mostly_paid_together():
    for exercise, points in POINTS.items():
        together = [
            one.points for one in HIDDEN if one.exercise == exercise and one.function.__name__.endswith("together")
        ]
        assert len(together) == 1 and (together[0] > points / 2 or exercise == "router"), exercise
    assert all(list(HIDDEN.exercises)[i] == name for i, name in enumerate(POINTS))


def test_a_missing_name_is_told_so():
    judgement = judge(HIDDEN, {}, 0)
    assert judgement.score == 0 and all("is not defined" in message for message in judgement.failed.values())


@pytest.mark.parametrize("seed", range(3))
def test_the_reference_gets_full_marks(seed):
    assert judge(HIDDEN, vars(router), f"reference {seed}").failed == {}
    assert judge(PUBLIC, vars(router), 0).failed == {}


# ---------------------------------------------------------------------------------------------------------------------
# What is special to a5: how inputs are drawn, and the definitions of right


def flatten(value):
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from flatten(item)
    elif isinstance(value, torch.Tensor):
        yield value


def test_inputs_follow_the_seed_alone():
    first, again, other = ([t.double() for t in flatten(judge(HIDDEN, vars(router), seed).sent)] for seed in (1, 1, 2))
    assert len(first) > 100 and len(first) == len(again) and all(map(torch.equal, first, again))
    real = [(a, b) for a, b in zip(first, other) if not torch.equal(2 * a, (2 * a).round())]  # no gate, no indices
    assert len(real) > 50 and not any(a.shape == b.shape and torch.equal(a, b) for a, b in real)
    assert sum(t.numel() * t.itemsize for t in first) < 2_000_000


@pytest.mark.parametrize("shape", [(9, 6), (3, 9, 5), (4, 6)])
def test_logits_lie_apart_and_leave_no_expert_idle(shape):
    for seed in range(30):
        logits = HIDDEN.module.some_logits(random.Random(seed), *shape)
        assert logits.sort(-1).values.diff(dim=-1).min() > 0.249
        liked = logits.argmax(-1).reshape(-1, shape[-2])
        assert all(set(text.tolist()) >= set(range(min(shape[-2:]))) for text in liked)


def test_the_checks_definitions_agree_with_the_reference():
    checks, rng = HIDDEN.module, random.Random(5)
    logits = checks.normal(rng, 12, 6)
    weights, indices, probabilities = router.top_k_gates(logits, 3, renormalize=False)
    assert torch.allclose(checks.gates_of(logits, indices), weights)
    readings = checks.balance_of(logits, indices, weights)
    assert torch.allclose(readings.right, router.load_balancing_loss(probabilities, indices))
    right, wrong = checks.z_readings(logits)
    assert torch.allclose(right, router.router_z_loss(logits))
    for value, message in [*wrong, *readings.wrong, (readings.bare, "")]:
        assert not torch.isclose(value, right) and not torch.isclose(value, readings.right), message
    experts = checks.some_experts(rng, 6)
    x = checks.normal(rng, 12, 3).float()
    ours = router.dispatch(x.double(), weights, indices, [lambda z, e=e: experts.of(z, e) for e in range(6)])
    assert torch.allclose(checks.combined(x, weights, indices, experts), ours)


# ---------------------------------------------------------------------------------------------------------------------
# Public checks: what they say of small functions that are wrong


def plus(name, change):
    """The reference with one function changed: ``change`` gets the right one."""
    return {**vars(router), name: change(getattr(router, name))}


def over_tokens(right):
    return lambda x, weights, indices, experts: torch.stack(
        [right(*(z[None] for z in row), experts)[0] for row in zip(x, weights, indices)]
    )


@pytest.mark.parametrize(
    ("name", "change", "check", "message"),
    [
        ("top_k_gates", lambda f: lambda h, k, r=True: f(h, k, True), "by_hand", "do not add up to 1"),
        ("top_k_gates", lambda f: lambda h, k, r=True: f(h, k, False), "by_hand", "divided by their sum"),
        ("top_k_gates", lambda f: lambda h, k, r=True: f(h.detach(), k, r), "gates_gradient", "no gradient flows"),
        ("top_k_gates", lambda f: lambda h, k, r=True: (f(h, k, r)[0], f(h, 1)[1].expand(*h.shape[:-1], k), f(h, 1)[2]),
         "different", "chosen twice"),
        ("load_balancing_loss", lambda f: lambda p, i: f(p, i) / p.shape[-1], "uniform", "the factor num_experts"),
        ("load_balancing_loss", lambda f: lambda p, i: f(p, i) * i.shape[-1], "uniform", "divide by k * tokens"),
        ("load_balancing_loss", lambda f: lambda p, i: f(p.detach(), i), "balance_gradient", "must not be detached"),
        ("router_z_loss", lambda f: lambda h: h.logsumexp(-1).mean(), "z_by_hand", "the squares are missing"),
        ("router_z_loss", lambda f: lambda h: h.exp().sum(-1).log().square().mean(), "large", "is infinite here"),
        ("dispatch", lambda f: lambda x, w, i, e: f(x, w, i.sort(0).values, e), "one_expert", "21, 301, 2001"),
        ("dispatch", over_tokens, "few_calls", "gather their tokens"),
        ("dispatch", lambda f: lambda x, w, i, e: f(x.float(), w, i, e), "shapes", "in the dtype of x"),
        ("dispatch", lambda f: lambda x, w, i, e: f(x, w.detach(), i, e), "dispatch_gradients", "must flow to x"),
    ],
)  # fmt: skip
def test_public_checks_name_the_mistake(name, change, check, message):
    failed = judge(PUBLIC, plus(name, change), 0).failed
    said = {key.split(".")[1]: text for key, text in failed.items()}
    assert message in said[check]


class Short(router.TopKRouter):
    def forward(self, x):
        return router.RouterOutput(*(z.to(x.dtype) if z.is_floating_point() else z for z in super().forward(x)))


class Biased(router.TopKRouter):
    def __init__(self, d_model, num_experts, top_k, **options):
        super().__init__(d_model, num_experts, top_k, **options)
        self.gate = torch.nn.Linear(d_model, num_experts)


@pytest.mark.parametrize(
    ("mistaken", "check", "message"),
    [(Short, "in_float32", "must be float32"), (Biased, "parameter", "without a bias")],
)
def test_public_checks_name_the_mistakes_of_a_module(mistaken, check, message):
    assert message in judge(PUBLIC, {**vars(router), "TopKRouter": mistaken}, 0).failed[f"router.{check}"]


# ---------------------------------------------------------------------------------------------------------------------
# As a class meets them: the notebook that is handed out, and the worker that answers are graded in


def test_the_released_notebook_scores_nothing(tmp_path):
    from cs336lite.course.release import generate
    from cs336lite.grading.submission import read_submission

    released = read_submission(generate(ROOT, [A5], tmp_path)[A5] / f"{A5}.ipynb")
    names = {}
    for _, text in released.cells:
        try:
            exec(text, names)
        except Exception:
            continue  # a cell that uses what is not solved yet
    assert {"TopKRouter", "dispatch"} <= set(names)
    judgement = judge(HIDDEN, names, "released")
    assert judgement.score == 0
    assert all("not solved yet" in message for message in judgement.failed.values())


@LINUX
def test_verdicts_are_the_same_in_the_worker():
    """Short floats and the counting of calls work there too."""
    from cs336lite.grading.client import Worker
    from cs336lite.grading.verdicts import needs_of

    wrong = ("rounded_first", "float16_overflows", "dtypes_clash", "loop_when_gathering", "gates_detached")
    with Worker(needs_of(HIDDEN)) as worker:
        for solution in [*RIGHT, *(named(f"wrong_{name}") for name in wrong)]:
            failed = []
            with worker.student((("1", solution.source),)) as student:
                for one in HIDDEN:
                    student.begin(one.seconds)
                    result = one.run(student, "worker")
                    failed += [] if result.passed else [result.id]
            assert set(failed) == set(solution.fails), solution.name
