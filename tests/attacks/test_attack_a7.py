"""Attacks on the checks of a7_parallel: answers without a message behind them, and a module of collectives that lies.

Each is judged as the grader judges, behind the wall, and gets at most what it earns; the reference gets everything.
"""

import sys
from pathlib import Path

import pytest
from catalogue import spec
from forging import FORGE, Attack, judging, without_work

from cs336lite import sharding

HIDDEN = spec("a7_parallel", "hidden")
REFERENCE = Path(sharding.__file__).read_text(encoding="utf-8")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="grading runs on Linux")

NOTHING = """
for name in ("ranks", "shards", "schedule"):
    forged["drive_" + name] = lambda *args: []
"""

# In the right shapes, and with no message; ``number`` makes what is in them.
SHAPES = """
def numbers(like):
    return number(torch.empty(like.shape))


def result(name, world_size, job):
    if name == "ring":
        return [numbers(job[0]), job[0], job[0]]
    if name == "buckets":
        return [[numbers(x) for x in job[0]], job[0]]
    if name == "zero":
        return [[[numbers(x) for x in job[1]] for _ in job[2]], [[1]], job[2][-1]]
    counts = {"column_forward": 1, "row_forward": 1, "feed_forward": 1, "feed_forward_backward": 3}
    return [[numbers(job[1]) for _ in range(counts.get(job[0], 2))], job[1:]]


@instead
def drive_ranks(name, world_size, turns):
    return [[[], "ended", result(name, world_size, job)] for rank, job, answers in turns]


@instead
def drive_shards(cases):
    return [[numbers(weight), weight] for weight, size, dim in cases for _ in range(size)]


@instead
def drive_schedule(cases):
    return [[] for stages, _ in cases for _ in range(stages)]
"""
ENORMOUS = """
number = lambda t: torch.ones(3 << 20, 1, 1, 1, dtype=torch.int8)
"""
# What the grader knows of ranks does not come from this module.
LYING = """
import cs336lite.collectives as collectives

collectives.run = lambda *args, **kwargs: None
for one in ("Send", "Receive", "AllReduce", "ReduceScatter", "AllGather"):
    setattr(collectives, one, type(one, (), {"__init__": lambda self, *args: None}))
"""

ATTACKS = [
    *without_work(NOTHING, SHAPES),
    Attack("enormous tensors", FORGE + SHAPES + ENORMOUS, 0),
    Attack("requests that hold nothing", LYING + REFERENCE, 33),
]


@pytest.fixture(scope="module")
def points():
    with judging(HIDDEN) as judged:
        yield judged


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_attack(points, attack):
    assert points(attack.source, "attack") <= attack.most


def test_a_driver_that_is_replaced_changes_nothing(points):
    assert points(REFERENCE + "\n\nimport cs336lite.collectives\n\ncs336lite.collectives.run = None\n", "honest") == 100


@pytest.mark.parametrize("seed", range(2))
def test_the_reference_keeps_everything(points, seed):
    assert points(REFERENCE, f"honest {seed}") == 100
