"""What `dispatch` asks for in time: experts called for many tokens at once, each for its own."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cs336lite.course.answers import ask, like
from cs336lite.course.spec import expect

from .at_random import check
from .dispatch import carry, expect_a_dispatch, mixed, resembles, some_experts, spread
from .inputs import normal


def drive_dispatch_plainly(student, jobs, matrices):
    """The result for each (x, weights, indices)."""
    return [student.dispatch(*job, [lambda z, matrix=matrix: z @ matrix for matrix in matrices]) for job in jobs]


def drive_sorting(student, jobs, matrices):
    """What `drive_dispatch_plainly` should do, for one expert a token. Runs where no submission ever ran."""
    import torch

    results = []
    for x, weights, indices in jobs:
        order = indices[:, 0].argsort(stable=True)
        parts = x[order].split(torch.bincount(indices[:, 0], minlength=len(matrices)).tolist())
        done = torch.cat([part @ matrix for part, matrix in zip(parts, matrices, strict=True)])
        results.append(torch.zeros_like(x).index_add(0, order, done * weights[order]))
    return results


def drive_dispatch_counting(student, jobs, matrices):
    """For each (x, weights, indices): how many functions of torch are called."""
    from torch.overrides import TorchFunctionMode

    class Count(TorchFunctionMode):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def __torch_function__(self, function, types, args=(), kwargs=None):
            self.calls += 1
            return function(*args, **(kwargs or {}))

    counts = []
    for job in jobs:
        with Count() as count:
            student.dispatch(*job, [lambda z, matrix=matrix: z @ matrix for matrix in matrices])
        counts.append(count.calls)
    return counts


class Crowd(NamedTuple):
    """A result that tells with which rows experts were called, and what it is when they are called ..."""

    out: Tensor
    own: Tensor  # ... with all of their own tokens
    alone: Tensor  # ... with one of their own tokens at a time
    everybody: Tensor  # ... with all tokens


def crowded(student, rng, lift: float) -> Crowd:
    """One expert for each token and gates of 1, for how results are put together is judged by itself."""
    experts = some_experts(rng, 4)._replace(crowd=normal(rng, 4, 3, 3).float(), lift=lift)
    x, indices = normal(rng, 24, 3).float(), mixed(rng, 24, 4)
    (done,) = carry(student, experts, (x, torch.ones(24, 1), indices))
    chosen = indices[:, 0]
    of = (x.double()[:, None] @ experts.matrices.double()[chosen])[:, 0] + experts.offsets.double()[chosen]
    rows = lift + x.double()
    mine = (chosen == torch.arange(4)[:, None]).double() @ rows
    sums = mine[chosen], rows, rows.sum(0).expand(24, 3)
    return Crowd(done.out, *(of + (one[:, None] @ experts.crowd.double()[chosen])[:, 0] for one in sums))


@check("dispatch", points=1, title="experts are called for many tokens at once", seconds=10)
def calls_do_not_grow(student, rng):
    experts = some_experts(rng, 4)
    message = (
        "the experts are called more often than there are experts and places: gather the tokens of an expert, and call it "
        "once with all of them"
    )
    for done in carry(student, experts, spread(rng, 12, 4), spread(rng, 120, 4)):
        expect(len(done.calls) <= 8, message)
    expect_a_dispatch(student, rng)
    crowd = crowded(student, rng, lift=0.0)
    expect(not resembles(crowd.out, crowd.alone), message)
    once = resembles(crowd.out, crowd.own) or resembles(crowd.out, crowd.everybody)
    expect(once, "an expert is not called once with all of its tokens")


@check("dispatch", points=0.5, title="no loop over tokens around them either", seconds=10)
def work_does_not_grow(student, rng):
    experts, jobs = some_experts(rng, 4), [spread(rng, n, 4) for n in (16, 128)]
    expect_a_dispatch(student, rng)
    few, many = ask(student, [int, int], drive_dispatch_counting, jobs, experts.matrices)
    message = "eight times the tokens take many times the calls of torch: there is a loop over tokens"
    expect(many <= 2 * few + 20, message)
    message = "dispatch takes many times as long as sorting the tokens by expert: is there a loop over tokens?"
    expect(any(keeps_up(student, rng) for _ in range(2)), message)


SLOWEST = 8  # times what is needed in a fresh process; right solutions take 1 to 3, tables 3 to 6, loops 10 or more


def keeps_up(student, rng) -> bool:
    """Whether dispatch of many tokens takes about as long as it should: a few times what it takes here.

    Of some questions the time is measured, from outside, and of others the answer is looked at: which, nobody can tell
    who is asked. Raises Fail for an answer that is wrong.
    """
    spent, needed = [], []
    for measured in rng.sample((True, False) * 3, 6):
        matrices, jobs = many_tokens(rng)
        if measured:
            spent.append(student.cpu_seconds(drive_dispatch_plainly, jobs, matrices))
            needed += [student.yardstick(drive_sorting, jobs, matrices) for _ in range(2)]
        else:
            form = [like(x, dtype=None) for x, _, _ in jobs]
            done = ask(student, form, drive_dispatch_plainly, jobs, matrices)
            for out, right in zip(done, drive_sorting(None, jobs, matrices), strict=True):
                expect(resembles(out, right.double()), "with many tokens they do not get what their own expert returns")
    return sum(spent) <= SLOWEST * len(spent) * min(needed)


def many_tokens(rng) -> tuple[Tensor, list[tuple[Tensor, Tensor, Tensor]]]:
    """Matrices of experts, and jobs of some hundred tokens with one expert each and gates of 1."""
    number, n, count = 4, 128, 16
    xs, orders = normal(rng, count, n, 8).float(), normal(rng, count, n, 1).argsort(1) % number
    jobs = [(x, torch.ones(n, 1), order) for x, order in zip(xs, orders, strict=True)]
    return normal(rng, number, 8, 8).float(), jobs


@check("dispatch", points=0.5, title="an expert gets its own tokens only", seconds=5)
def own_tokens_only(student, rng):
    (done,) = carry(student, some_experts(rng, 4), spread(rng, 12, 4, 3))
    rows = [sum(n for e, n in done.rows if e == expert) for expert in range(4)]
    message = (
        "every expert gets all tokens: that is the work of all experts for each token; give it its own tokens only"
    )
    expect(rows not in ([12] * 4, [36] * 4), message)
    more = "the experts get more rows than k * tokens: is a token given twice, or are there empty rows?"
    expect(sum(rows) <= 36, more)
    expect(rows == [9] * 4, "the experts get fewer rows than k * tokens: no assignment may be dropped")
    expect_a_dispatch(student, rng)
    crowd = crowded(student, rng, lift=rng.uniform(1.0, 2.0))  # the number of rows counts
    expect(not resembles(crowd.out, crowd.everybody), message)
    just = resembles(crowd.out, crowd.own) or resembles(crowd.out, crowd.alone)
    expect(just, "an expert is called with other rows than its own tokens")
