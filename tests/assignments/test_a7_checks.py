"""What is special to the checks of a7_parallel; its catalogue is judged in `test_catalogue`."""

import statistics

import pytest
import torch
from catalogue import judge, solutions, spec

from cs336lite import sharding
from cs336lite.collectives import RanksError, run

HIDDEN, PUBLIC = spec("a7_parallel", "hidden"), spec("a7_parallel", "public")
WRONG = solutions("a7_parallel", "wrong")
TOGETHER = {check.id: check.points for check in HIDDEN if check.id.endswith("_together")}

pytestmark = pytest.mark.usefixtures("one_thread")


def test_each_exercise_is_mostly_paid_together():
    assert [name.split(".")[0] for name in TOGETHER] == list(HIDDEN.exercises)
    for name, points in TOGETHER.items():
        assert points >= 0.7 * HIDDEN.exercises[name.split(".")[0]], name


def test_what_breaks_ordinary_use_costs_most_of_its_exercise_and_an_edge_a_few_points():
    cost = {check.id: check.points for check in HIDDEN}
    scores = {one.name: 100 - sum(cost[name] for name in one.fails) for one in WRONG}
    broken = [scores[one.name] for one in WRONG if set(one.fails) & set(TOGETHER)]
    edges = [scores[one.name] for one in WRONG if not set(one.fails) & set(TOGETHER)]
    assert len(broken) > 30 and statistics.median(broken) <= 80
    assert len(edges) > 20 and statistics.median(edges) > 97 and min(edges) >= 95


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 7, 30])
def test_the_ring_sends_no_more_than_the_formula(world_size, count):
    x = torch.arange(float(count))
    outcome = run(sharding.ring_all_reduce, world_size, x)
    assert all(torch.equal(result, world_size * x) for result in outcome.results)
    assert max(outcome.sent) <= 2 * (world_size - 1) * -(-count // world_size) * 4


def test_a_shard_of_nothing_is_updated_too():
    def program(rank, world_size):
        weight = torch.nn.Parameter(torch.ones(1))
        optimizer = sharding.ZeroOptimizer(rank, world_size, [weight], torch.optim.AdamW)
        weight.grad = torch.ones(1)
        yield from optimizer.step()
        return weight.item()

    assert len(set(run(program, 3).results)) == 1


def test_a_deadlock_is_told_by_the_driver():
    found = next(one for one in WRONG if one.name == "wrong_deadlock")
    assert "RanksError" in judge(PUBLIC, found, 0).failed["ring.three_ranks"]
    assert issubclass(RanksError, RuntimeError)


@pytest.mark.parametrize(
    ("solution", "check", "message"),
    [
        ("wrong_everything_to_all", "ring.three_ranks", "ranks 0, 1, 2 send to"),
        ("wrong_one_rank_gives_x", "ring.odd_sizes", "x must still be"),
        ("wrong_sums_gradients", "buckets.by_hand", "the means are"),
        ("wrong_first_parameter_first", "buckets.packed", "bytes in each all-reduce"),
        ("wrong_full_state", "zero.one_step", "make_optimizer is given"),
        ("wrong_new_optimizer_each_step", "zero.momentum", "2.5 mean gradients"),
        ("wrong_column_without_all_reduce", "tensor.columns", "grad_x is"),
        ("wrong_square_without_two", "tensor.against_autograd", "by autograd"),
        ("wrong_gpipe", "pipeline.table", "stage 0 of 3"),
    ],
)
def test_public_checks_name_the_mistake(solution, check, message):
    found = next(one for one in WRONG if one.name == solution)
    assert message in judge(PUBLIC, found, 0).failed[check]
