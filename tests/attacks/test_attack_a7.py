"""Attacks on the checks of a7_parallel: answers without a message behind them, and a module of collectives that lies.

Each is judged as the grader judges, behind the wall, and gets at most what it earns; the reference gets everything.
"""

import sys
from pathlib import Path

import pytest
from catalogue import spec
from forging import FORGE, Attack, judging, without_work

from cs336lite import sharding
from cs336lite.grading.client import Worker
from cs336lite.grading.judge import needs_of

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
    Attack("requests that hold nothing", LYING + REFERENCE, 11.5),  # the pipeline and the cutting of weights ask nobody
]

# Ranks that do what no rank should; what they are given, a request that would be right, and a tensor.
HOSTILE = """

def ring_all_reduce(rank, world_size, x):
    return hostile(Send((rank + 1) % world_size, x), x)


def average_gradients(rank, world_size, parameters, bucket_bytes):
    return hostile(AllReduce(parameters[0].detach()), parameters[0])


class ZeroOptimizer:
    def __init__(self, rank, world_size, parameters, make_optimizer):
        self.given = ReduceScatter([parameters[0].detach()] * world_size), parameters[0]

    def step(self):
        return hostile(*self.given)


def row_forward(rank, world_size, x, *rest):
    return hostile(AllReduce(x), x)


column_forward = column_backward = row_backward = feed_forward = feed_forward_backward = row_forward


"""
NO_END = ("without end", "comes to no end")
NO_REQUEST = ("yields what is no request",)
HUGE = ("far larger than all that it was given",)
WRONG = ("is not", "as they were", "own", "has not the shape", "wrong")
RANKS = {  # what a rank does, and what is said of it
    "asks for ever": ("def hostile(request, x):\n    while True:\n        yield request\n", NO_END),
    "yields what is no request": ("def hostile(request, x):\n    yield object()\n", NO_REQUEST),
    "yields a class": ("def hostile(request, x):\n    yield type(request)\n", NO_REQUEST),
    "asks for a huge sum": ("def hostile(request, x):\n    yield AllReduce(torch.ones(1).expand(1 << 40))\n", HUGE),
    "changes what it gave and got": (
        """
def hostile(request, x):
    for one in vars(request).values():
        if isinstance(one, torch.Tensor):
            one.fill_(9)
    if not isinstance(request, Send):
        answer = yield request
        for one in answer if isinstance(answer, list) else [answer]:
            one.fill_(9)
    object.__setattr__(request, "tensor", None)
    yield from ()
    return x
""",
        WRONG,
    ),
}


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


@pytest.fixture(scope="module")
def worker():
    with Worker(needs_of(HIDDEN)) as made:
        yield made


@pytest.mark.parametrize("rank", RANKS)
def test_a_hostile_rank_is_told_what_it_does_and_harms_nobody(worker, rank):
    body, words = RANKS[rank]
    together = [one for one in HIDDEN if one.id.endswith("_together") and one.exercise != "pipeline"]
    with worker.student((("1", REFERENCE + HOSTILE + body),)) as student:
        for one in together:
            student.begin(one.seconds)
            result = one.run(student, "hostile")
            assert result.points == 0 and not result.fault, result
            assert any(word in result.message for word in words), result.message
    with worker.student((("1", REFERENCE),)) as student:  # the next one in the same worker
        student.begin(together[0].seconds)
        assert together[0].run(student, "honest").passed
