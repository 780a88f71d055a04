"""The checks of a4_lion, tested: right solutions in many styles pass, and each wrong one fails where it is wrong."""

import ast
import statistics
import sys

import catalogue
import nbformat
import pytest
import torch
from catalogue import ROOT, judge, solutions, spec, words_of

from cs336lite import lion

A4 = "a4_lion"
HIDDEN, PUBLIC = spec(A4, "hidden"), spec(A4, "public")
RIGHT, WRONG, TRIVIAL = (solutions(A4, kind) for kind in ("right", "wrong", "trivial"))
POINTS = {"direction": 20, "update": 30, "foreach": 15, "optimizer": 35}
SMALL_FUNCTIONS = ("lion_direction", "lion_update_")  # a plain solution may do without them
NOTEBOOK = ROOT / "assignments" / "source" / A4 / f"{A4}.ipynb"
NO_ANSWER = "the answer does not have the form"  # what a check says that stumbled itself
NAMES = {"betas", "weight_decay", "None", "Lion", "lion_update_"}  # sent, and may be spoken of


def by_name(found):
    return [pytest.param(solution, id=solution.name) for solution in found]


def named(name):
    return next(solution for solution in [*RIGHT, *WRONG, *TRIVIAL] if solution.name == name)


@pytest.fixture(autouse=True)
def one_thread():
    """As in the grader; tensors here are too small for more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_points_of_each_exercise():
    assert HIDDEN.exercises == POINTS
    assert HIDDEN.max_points == 100


def test_the_notebook_promises_the_same_points():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell.metadata.get("nbgrader", {}) for cell in notebook.cells]
    assert {cell.grade_id.removeprefix("grade_"): cell.points for cell in cells if cell.get("grade")} == POINTS
    for exercise, points in POINTS.items():  # the table at the top, and the line above each exercise
        assert any(f"| `{exercise}` |" in c.source and f"| {points} |" in c.source for c in notebook.cells)
        assert any(f"(`{exercise}`)" in c.source and f"· {points} points**" in c.source for c in notebook.cells)


def test_public_checks_cover_every_exercise_without_points():
    assert set(PUBLIC.exercises) == set(POINTS)
    assert PUBLIC.max_points == 0


def test_hints_come_in_three_layers():
    assert list(PUBLIC.hints) == list(POINTS)
    for exercise, layers in PUBLIC.hints.items():
        assert len(layers) == 3, exercise
        assert len(set(layers)) == 3 and all(len(layer) > 40 for layer in layers), exercise


def test_ids_are_unique():
    for checks in (HIDDEN, PUBLIC):
        ids = [one.id for one in checks]
        assert len(set(ids)) == len(ids)


def test_every_exercise_says_where_to_read_on():
    assert set(HIDDEN.module.READ) == set(POINTS)


def test_catalogue_is_large_and_says_what_it_expects():
    assert len(RIGHT) >= 5 and len(WRONG) >= 15 and len(TRIVIAL) >= 3
    known = {one.id for one in HIDDEN}
    for solution in WRONG:
        assert solution.fails and set(solution.fails) <= known, solution.name
        assert solution.names, solution.name


def test_every_hidden_check_has_a_wrong_solution_that_fails_it():
    assert {one.id for one in HIDDEN} == {name for solution in WRONG for name in solution.fails}


@pytest.mark.parametrize("solution", by_name(RIGHT))
def test_right_solutions_get_full_marks(solution):
    judgement = judge(HIDDEN, solution, "right")
    assert judgement.failed == {}
    assert judgement.score == 100


@pytest.mark.parametrize("solution", by_name(RIGHT))
def test_right_solutions_pass_the_public_checks(solution):
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
    assert words_of(list(failed.values())) & words_of(as_numbers(judgement.sent)) <= NAMES, (
        "a message shows what was asked"
    )


@pytest.mark.parametrize("solution", by_name(WRONG))
def test_wrong_solutions_fail_exactly_where_they_are_wrong(solution):
    expect_named_mistakes(solution, "wrong")


def bounds(solution):
    """The least and the most points that a wrong solution deserves: ``points: 60-75`` in its docstring."""
    said = catalogue.field(ast.get_docstring(ast.parse(solution.path.read_text())), "points")
    return tuple(map(float, said.split("-"))) if said else None


@pytest.mark.parametrize("solution", by_name(one for one in WRONG if bounds(one)))
def test_a_mistake_costs_what_it_breaks(solution):
    least, most = bounds(solution)
    assert least <= judge(HIDDEN, solution, "points").score <= most


def test_what_breaks_everyday_use_costs_a_quarter_and_an_edge_a_few_points():
    """A training goes wrong exactly where the check of a training says so."""
    judged = [judge(HIDDEN, solution, "points") for solution in WRONG]
    broken = [one.score for one in judged if "optimizer.a_training_loop" in one.failed]
    edges = [one.score for one in judged if not any(name in one.failed for name in TOGETHER)]
    assert len(broken) > 20 and statistics.median(broken) < 75
    assert len(edges) > 20 and statistics.median(edges) > 95 and min(edges) >= 90


TOGETHER = ("direction.ten_directions", "update.ten_updates", "foreach.lists_together", "optimizer.a_training_loop")


def test_together_checks_carry_forty_points():
    assert sum(check.points for check in HIDDEN if check.id in TOGETHER) == 40


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("solution", by_name(WRONG))
def test_verdicts_do_not_depend_on_the_seed(solution, seed):
    expect_named_mistakes(solution, seed)


@pytest.mark.parametrize("solution", by_name(TRIVIAL))
def test_trivial_solutions_score_nothing(solution):
    judgement = judge(HIDDEN, solution, "trivial")
    assert judgement.score == 0
    assert not any(NO_ANSWER in message for message in judgement.failed.values())


def test_an_unsolved_notebook_is_told_so():
    messages = judge(HIDDEN, named("trivial_unsolved"), 0).failed.values()
    assert all("not solved yet" in message for message in messages)


def test_a_missing_name_is_told_so():
    judgement = judge(HIDDEN, {}, 0)
    assert judgement.score == 0
    assert all("is not defined" in message for message in judgement.failed.values())


@pytest.mark.parametrize("seed", range(3))
def test_the_reference_gets_full_marks(seed):
    judgement = judge(HIDDEN, vars(lion), f"reference {seed}")
    assert judgement.failed == {}
    assert judgement.score == 100


def test_an_error_of_ones_own_that_is_a_valueerror_will_do():
    source = named("right_in_parts").source + OWN_ERROR
    assert judge(HIDDEN, catalogue.namespace(source), 0).failed == {}


OWN_ERROR = """
class BadArgument(ValueError):
    pass


class Lion(Lion):
    def check_arguments(self, lr, betas, weight_decay):
        if lr < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise BadArgument("Lion")
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_right_for_forty_more_seeds(seed):
    for solution in RIGHT:
        assert judge(HIDDEN, solution, seed).failed == {}, solution.name


def test_the_reference_passes_the_public_checks():
    assert judge(PUBLIC, vars(lion), 0).failed == {}


def flatten(value):
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from flatten(item)
    elif isinstance(value, torch.Tensor):
        yield value


def test_inputs_follow_the_seed_alone():
    """The same seed asks the same questions; another seed asks others."""
    first, again, other = ([t.double() for t in flatten(judge(HIDDEN, vars(lion), seed).sent)] for seed in (1, 1, 2))
    assert len(first) > 100 and len(first) == len(again) == len(other)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not any(torch.equal(a, b) for a, b in zip(first, other) if a.numel() > 4 and a.any())


def test_what_is_sent_is_small():
    assert sum(t.numel() * t.itemsize for t in flatten(judge(HIDDEN, vars(lion), 3).sent)) < 400_000


# ---------------------------------------------------------------------------------------------------------------------
# Public checks: what they say of small functions that are wrong


def loses_the_gradient(grad, momentum, beta1):
    return momentum.sign()


def by_comparison(grad, momentum, beta1):
    return torch.where(beta1 * momentum + (1 - beta1) * grad >= 0, 1.0, -1.0)


def eats_the_gradient(grad, momentum, beta1):
    return grad.mul_(1 - beta1).add_(momentum, alpha=beta1).sign_()


def climbs(p, grad, momentum, lr, betas, weight_decay):
    lion.lion_update_(p, -grad, momentum, lr, betas, weight_decay)
    momentum.neg_()


def decays_last(p, grad, momentum, lr, betas, weight_decay):
    lion.lion_update_(p, grad, momentum, lr, betas, 0.0)
    p.mul_(1 - lr * weight_decay)


def couples(p, grad, momentum, lr, betas, weight_decay):
    lion.lion_update_(p, grad + weight_decay * p, momentum, lr, betas, 0.0)


def replaces(p, grad, momentum, lr, betas, weight_decay):
    p = p - lr * grad.sign()


def loops(params, grads, momenta, *options):
    for tensors in zip(params, grads, momenta):
        lion.lion_update_(*tensors, *options)


@pytest.mark.parametrize(
    ("name", "function", "check", "message"),
    [
        ("lion_direction", lambda grad, momentum, beta1: grad.sign(), "by_hand", "of the gradient alone"),
        ("lion_direction", loses_the_gradient, "by_hand", "of the momentum alone"),
        ("lion_direction", by_comparison, "zero", "the direction is 0"),
        ("lion_direction", eats_the_gradient, "zero", "has changed"),
        ("lion_update_", climbs, "one_step", "p climbs"),
        ("lion_update_", decays_last, "one_step", "before the step"),
        ("lion_update_", couples, "one_step", "in the direction"),
        ("lion_update_", replaces, "one_step", "p is as it was"),
        ("lion_update_foreach_", loops, "counted", "2 tensors take"),
    ],
)
def test_public_checks_name_the_mistake(name, function, check, message):
    failed = judge(PUBLIC, {**vars(lion), name: function}, 0).failed
    said = {key.split(".")[1]: text for key, text in failed.items()}
    assert message in said[check]


@pytest.mark.parametrize(
    ("solution", "check", "message"),
    [
        ("wrong_missing_gradients_are_zero", "groups", "must stay as it is"),
        ("wrong_first_group_for_all", "groups", "the group with lr 0.25"),
        ("wrong_closure_value_lost", "closure", "returns"),
        ("wrong_momentum_by_shape", "twins", "each have a momentum"),
        ("wrong_momentum_not_saved", "twins", "lacks the momenta"),
        ("wrong_no_argument_checks", "errors", "lr = -0.1"),
        ("wrong_sparse_accepted", "errors", "the word sparse"),
    ],
)
def test_public_checks_name_the_mistakes_of_a_class(solution, check, message):
    assert message in judge(PUBLIC, named(solution), 0).failed[f"optimizer.{check}"]


# ---------------------------------------------------------------------------------------------------------------------
# As a class meets them: the notebook that is handed out, and the worker that answers are graded in


def test_the_released_notebook_scores_nothing(tmp_path):
    from cs336lite.course.release import generate
    from cs336lite.grading.submission import read_submission

    released = read_submission(generate(ROOT, [A4], tmp_path)[A4] / f"{A4}.ipynb")
    names = {}
    for _, text in released.cells:
        try:
            exec(text, names)
        except Exception:
            continue  # a cell that uses what is not solved yet
    assert "Lion" in names and "lion_update_foreach_" in names
    judgement = judge(HIDDEN, names, "released")
    assert judgement.score == 0
    assert all("not solved yet" in message for message in judgement.failed.values())


LIBRARY = """
import torch


class Lion(torch.optim.{}):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr=lr, weight_decay=weight_decay)
"""


def in_the_worker(source):
    from cs336lite.grading.client import Worker
    from cs336lite.grading.verdicts import needs_of

    results = []
    with Worker(needs_of(HIDDEN)) as worker, worker.student((("1", source),)) as student:
        for one in HIDDEN:
            student.begin(one.seconds)
            results.append(one.run(student, "worker"))
    return results


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading runs on Linux")


@linux
@pytest.mark.parametrize("name", ["right_foreach", "right_numpy", "wrong_one_beta", "wrong_foreach_loop"])
def test_verdicts_are_the_same_in_the_worker(name):
    failed = {one.id: one.message for one in in_the_worker(named(name).source) if not one.passed}
    assert set(failed) == set(named(name).fails), failed


@linux
@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_another_optimizer_by_the_name_of_lion_scores_nothing_in_the_worker(name):
    results = in_the_worker(LIBRARY.format(name))
    assert sum(one.points for one in results) == 0
    assert any(f"torch.optim.{name}.step" in one.message for one in results), results
    judgement = judge(HIDDEN, catalogue.namespace(LIBRARY.format(name)), "worker")  # where it is not refused
    assert judgement.score == 0


def test_every_optimizer_of_torch_is_refused():
    known = {name for name, one in vars(torch.optim).items() if isinstance(one, type)} - {"Optimizer"}
    assert known == set(HIDDEN.module.OPTIMIZERS)


def test_solution_files_stand_alone():
    for solution in [*RIGHT, *WRONG, *TRIVIAL]:
        assert catalogue.BASE_LINE.strip() not in solution.source.splitlines(), solution.name
        assert "Lion" in catalogue.namespace(solution.source, solution.name)
