"""What is special to the checks of a4_lion; its catalogue is judged in `test_catalogue`."""

import sys

import catalogue
import pytest
import torch
from catalogue import judge, solutions, spec

from cs336lite import lion

A4 = "a4_lion"
HIDDEN, PUBLIC = spec(A4, "hidden"), spec(A4, "public")
RIGHT, WRONG, TRIVIAL = (solutions(A4, kind) for kind in ("right", "wrong", "trivial"))


def named(name):
    return next(solution for solution in [*RIGHT, *WRONG, *TRIVIAL] if solution.name == name)


pytestmark = pytest.mark.usefixtures("one_thread")


def test_an_edge_costs_a_tenth_at_most():
    """By what each solution of the catalogue says that it fails."""
    cost = {check.id: check.points for check in HIDDEN}
    edges = [one for one in WRONG if not any(name in one.fails for name in TOGETHER)]
    assert len(edges) > 20 and all(sum(cost[name] for name in one.fails) <= 10 for one in edges)


TOGETHER = ("direction.ten_directions", "update.ten_updates", "foreach.lists_together", "optimizer.a_training_loop")


def test_together_checks_carry_forty_points():
    assert sum(check.points for check in HIDDEN if check.id in TOGETHER) == 40


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
        ("wrong_momentum_by_shape", "twins", "each goes by a momentum of its own"),
        ("wrong_momentum_not_saved", "twins", "lacks the momenta"),
        ("wrong_no_argument_checks", "errors", "lr = -0.1"),
        ("wrong_sparse_accepted", "errors", "the word sparse"),
    ],
)
def test_public_checks_name_the_mistakes_of_a_class(solution, check, message):
    assert message in judge(PUBLIC, named(solution), 0).failed[f"optimizer.{check}"]


# ---------------------------------------------------------------------------------------------------------------------
# As a class meets them: the notebook that is handed out, and the worker that answers are graded in


LIBRARY = """
import torch


class Lion(torch.optim.{}):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr=lr, weight_decay=weight_decay)
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
