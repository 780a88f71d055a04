"""The programs of lecture 10 against one process, on sizes that do not divide, and its exercises."""

import doctest

import pytest
import torch
import torch.nn.functional as F
from helpers import ROOT
from torch import nn

from cs336lite import parallel
from cs336lite.collectives import run, run_processes
from cs336lite.course.check import public_spec, run_checks
from cs336lite.course.spec import LocalStudent
from cs336lite.parallel import (
    gpipe,
    heads_output,
    ring_attention,
    sequence_parallel,
    timeline,
    train_overlapped,
    train_replicas,
    train_sharded,
    vocabulary_loss,
    waiting_share,
)


def test_its_examples():
    found = doctest.testmod(parallel)
    assert found.attempted >= 2 and not found.failed


@pytest.mark.parametrize("p", [1, 2, 3, 5])
def test_sharded_training_equals_torchs_sgd(p):
    torch.manual_seed(0)
    net = nn.Linear(7, 3)  # 24 parameters: not a multiple of 5
    batches = [(torch.randn(30, 7), torch.randint(3, (30,))) for _ in range(4)]
    results = run(train_sharded, p, net, batches, 0.1).results
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    wanted = nn.utils.parameters_to_vector(net.parameters()).detach()
    for weights, held in results:
        torch.testing.assert_close(weights, wanted)
        assert held == 2 * -(-24 // p)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_the_vocabulary_and_the_text_may_be_uneven(p):
    hidden, output, targets = 9 * torch.randn(11, 6), torch.randn(10, 6), torch.randint(10, (11,))
    wanted = F.cross_entropy(hidden @ output.T, targets)
    for loss in run(vocabulary_loss, p, hidden, output, targets).results:
        torch.testing.assert_close(loss, wanted)
    q, k, v = (torch.randn(2, 10, 4) for _ in range(3))
    if 10 % p == 0:
        wanted = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        torch.testing.assert_close(torch.cat(run(ring_attention, p, q, k, v).results, dim=1), wanted)


@pytest.mark.parametrize("p", [1, 2, 4])
def test_tokens_cut_around_a_norm_give_autograds_gradients(p):
    x, gain, upstream = torch.randn(8, 12), torch.randn(12), torch.randn(8, 12)
    matrices = [torch.randn(12, 12) / 4 for _ in range(4)]
    leaves = [x.clone().requires_grad_(), gain.clone().requires_grad_()]
    whole = heads_output(F.rms_norm(leaves[0], (12,), leaves[1]), *matrices, 4)
    d_x, d_gain = torch.autograd.grad(whole, leaves, upstream)
    outputs, parts, gains = zip(*run(sequence_parallel, p, x, gain, matrices, 4, upstream).results)
    torch.testing.assert_close(torch.cat(outputs), whole.detach())
    torch.testing.assert_close(torch.cat(parts), d_x)
    for one in gains:
        torch.testing.assert_close(one, d_gain)


def test_sums_that_hooks_begin_are_those_of_replicas():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 3))
    batches = [(torch.randn(8, 7), torch.randint(3, (8,))) for _ in range(2)]
    wanted = run(train_replicas, 1, net, batches, 0.1).results[0]
    for weights, shares in run_processes(train_overlapped, 2, net, batches, 0.1).results:
        torch.testing.assert_close(weights, wanted)
        assert [len(step) for step in shares] == [4, 4]  # one sum for each parameter, in every step
        assert all(step == sorted(step) and step[0] > 0 and step[-1] <= 1 for step in shares)


def test_a_timeline_needs_an_order_that_can_go_on():
    assert waiting_share(timeline(gpipe(4, 8))) == pytest.approx(3 / 11)
    with pytest.raises(ValueError, match="no stage can go on"):
        timeline([[("backward", 0), ("forward", 0)]])


def told(exercise: str, source: str) -> list[str]:
    namespace: dict = {}
    exec(source, namespace)
    results = run_checks(public_spec(ROOT, "10_parallelism"), LocalStudent(namespace), exercise)
    return [result.message for result in results if not result.passed]


SECONDS = "def all_reduce_seconds(n, p, a, b): return {}"
OVERLAP = (
    "def overlapped(b, s):\n    t = d = 0\n    for x, y in zip(b, s):\n        t += x\n        d = {} + y\n    return d"
)
ZERO = "def zero_bytes(n, p, stage): return n * ({})"
BUBBLE = "def bubble(p, m): return {}"


@pytest.mark.parametrize(
    ("exercise", "source"),
    [
        ("all_reduce_seconds", SECONDS.format("sum(a + n / p / b for _ in range(2 * p - 2))")),
        ("overlapped", OVERLAP.format("max(t, d)")),
        ("zero_bytes", ZERO.format("16 - (12 * (stage > 0) + 2 * (stage > 1) + 2 * (stage > 2)) * (p - 1) / p")),
        ("bubble", BUBBLE.format("1 - m / (m + p - 1)")),
    ],
)
def test_right_answers_in_other_words_pass(exercise, source):
    assert told(exercise, source) == []


@pytest.mark.parametrize(
    ("exercise", "source", "message"),
    [
        ("all_reduce_seconds", SECONDS.format("2 * (p - 1) * (a + n / b)"), "not the whole tensor"),
        ("all_reduce_seconds", SECONDS.format("(p - 1) * (a + n / p / b)"), "the reduce-scatter alone"),
        ("all_reduce_seconds", SECONDS.format("2 * p * (a + n / p / b)"), "not p"),
        ("overlapped", "def overlapped(b, s): return sum(b) + sum(s)", "without overlap"),
        ("overlapped", OVERLAP.format("t"), "one bucket at a time"),
        ("zero_bytes", ZERO.format("4 + 12 / p if stage == 1 else 14 + 2 / p if stage == 2 else 16 / (p if stage else 1)"), "as well as stage 1"),
        ("bubble", BUBBLE.format("(p - 1) / m"), "divide by the whole time"),
        ("bubble", BUBBLE.format("p / (m + p)"), "not p"),
    ],
)  # fmt: skip
def test_wrong_answers_are_told_what_is_wrong(exercise, source, message):
    assert any(message in line for line in told(exercise, source)), told(exercise, source)
