"""Ranks that talk: answers, bytes and steps of collectives, errors that name ranks, and the same in real processes."""

import doctest
import os
import re
import signal
import time

import pytest
import torch

from cs336lite import collectives, gloo
from cs336lite.collectives import (
    AllGather,
    AllReduce,
    AllToAll,
    Barrier,
    Broadcast,
    RanksError,
    Receive,
    ReduceScatter,
    Send,
    run,
    run_processes,
)


def everything(rank, p):
    draw = torch.Generator().manual_seed(rank)
    x = torch.randn(5, 3, generator=draw)
    out = [(yield AllReduce(x)), (yield AllReduce(x, op="max")), (yield Broadcast(x if rank == p - 1 else None, p - 1))]
    out += yield AllGather(torch.full((rank + 1, 2), rank))
    out += yield AllToAll([torch.full((i + rank,), 10.0 * rank + i) for i in range(p)])
    out.append((yield ReduceScatter([torch.randn(i + 1, generator=draw) for i in range(p)])))
    yield Barrier()
    for _ in range(2 if p > 1 else 0):
        yield Send((rank + 1) % p, x.to(torch.bfloat16))
        out.append((yield Receive((rank - 1) % p)))
    return out


def killed(rank, p):
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    yield AllReduce(torch.ones(1))


def raises(rank, p):
    if rank == 2:
        raise ValueError("no such thing")
    yield AllReduce(torch.ones(1))


def nobody_sends(rank, p):
    yield Receive((rank + 1) % p)


def test_its_examples():
    found = doctest.testmod(collectives)
    assert found.attempted >= 2 and not found.failed


@pytest.mark.parametrize("p", [1, 2, 3, 5])
def test_answers(p):
    def inputs(rank):
        draw = torch.Generator().manual_seed(rank)
        return torch.randn(5, 3, generator=draw), [torch.randn(i + 1, generator=draw) for i in range(p)]

    results = run(everything, p).results
    xs = [inputs(rank)[0] for rank in range(p)]
    for rank, out in enumerate(results):
        torch.testing.assert_close(out[0], torch.stack(xs).sum(0))
        assert torch.equal(out[1], torch.stack(xs).amax(0)) and torch.equal(out[2], xs[-1])
        assert [x.tolist() for x in out[3 : 3 + p]] == [[[i, i]] * (i + 1) for i in range(p)]
        assert [x.tolist() for x in out[3 + p : 3 + 2 * p]] == [[10.0 * i + rank] * (i + rank) for i in range(p)]
        torch.testing.assert_close(out[3 + 2 * p], sum(inputs(i)[1][rank] for i in range(p)))
        assert all(torch.equal(x, xs[(rank - 1) % p].bfloat16()) for x in out[4 + 2 * p :])


def test_what_arrives_is_a_copy_and_so_are_arguments():
    def program(rank, p, shared):
        shared += rank
        total = yield AllReduce(shared)
        total += rank
        if rank == 0:
            yield Send(1, total)
            total.zero_()
            return total
        return (yield Receive(0)), total

    given = torch.zeros(2)
    zero, (message, own) = run(program, 2, given).results
    assert given.tolist() == [0, 0] and zero.tolist() == [0, 0]
    assert message.tolist() == [1, 1] and own.tolist() == [2, 2]


@pytest.mark.parametrize(("numel", "p"), [(8, 4), (10, 4), (3, 5), (0, 2), (7, 1)])
def test_an_all_reduce_is_counted_as_a_ring_of_messages(numel, p):
    """The ring written out with `Send` sends what the formula counts, rank by rank, and takes as many steps."""

    def ring(rank, p):
        chunks = list(torch.full((numel,), rank + 1.0).tensor_split(p))
        for shift, add in ((0, True), (1, False)):
            for step in range(p - 1):
                out, into = (rank - 1 + shift - step) % p, (rank - 2 + shift - step) % p
                yield Send((rank + 1) % p, chunks[out])
                got = yield Receive((rank - 1) % p)
                chunks[into] = chunks[into] + got if add else got
        return torch.cat(chunks)

    def whole(rank, p):
        return (yield AllReduce(torch.full((numel,), rank + 1.0)))

    a, b = run(ring, p), run(whole, p)
    assert all(torch.equal(x, y) for x, y in zip(a.results, b.results, strict=True))
    assert (a.sent, a.steps) == (b.sent, b.steps) and b.steps == 2 * (p - 1)


def test_one_message_in_and_one_out_is_a_step():
    def to_root(rank, p):
        if rank:
            yield Send(0, torch.ones(1))
        else:
            for source in range(1, p):
                yield Receive(source)

    assert run(to_root, 5).steps == 4


@pytest.mark.parametrize(
    ("program", "kind", "message"),
    [
        (nobody_sends, RanksError, r"deadlock.*rank 0 waits in Receive\(source=1\).*rank 2 waits in Receive\(source=0\)"),
        (lambda r, p: (yield Barrier() if r == 1 else AllReduce(torch.ones(1))), RanksError, "rank 1 Barrier"),
        (lambda r, p: (yield AllReduce(torch.ones(r + 1))), RanksError, r"shapes differ: rank 0 .*\(1,\).*rank 1 .*\(2,\)"),
        (lambda r, p: (yield AllReduce(torch.ones(1, dtype=[torch.int64, torch.float32][r > 0]))), RanksError, "dtypes differ"),
        (lambda r, p: (yield AllGather(torch.ones(1, r + 1))), RanksError, "more than the first dimension"),
        (lambda r, p: (yield Send(7, torch.ones(1))), ValueError, "names rank 7, and the ranks are 0 to 2"),
        (lambda r, p: (yield Send(r, torch.ones(1))), ValueError, "message to itself"),
        (lambda r, p: (yield AllToAll([torch.ones(1)])), ValueError, "list of 3 tensors"),
        (lambda r, p: (yield AllReduce(3.0)), TypeError, "takes tensors"),
        (lambda r, p: (yield 3), TypeError, "rank 0 yielded int"),
        (lambda r, p: 3, TypeError, "generator function"),
    ],
)  # fmt: skip
def test_errors_name_the_ranks(program, kind, message):
    with pytest.raises(kind, match=message):
        run(program, 3)


def test_a_rank_that_ends_early_and_a_message_that_nobody_receives():
    def early(rank, p):
        if rank != 1:
            yield Barrier()

    def lost(rank, p):
        if rank == 0:
            yield Send(1, torch.ones(1))

    with pytest.raises(RanksError, match=r"rank 2 waits in Barrier\(\); rank 1 ended before"):
        run(early, 3)
    with pytest.raises(RanksError, match="rank 0 sent rank 1 1 messages that it never received"):
        run(lost, 2)
    with pytest.raises(ValueError, match="at least one rank"):
        run(lost, 0)


def test_real_processes_give_the_same():
    here, there = run(everything, 3), run_processes(everything, 3)
    for a, b in zip(here.results, there.results, strict=True):
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x, y)
    assert (there.sent, there.messages) == (here.sent, here.messages)


@pytest.mark.parametrize(
    ("program", "messages"),
    [
        (killed, ["rank 1 was killed by SIGKILL"]),
        (raises, ["rank 2 raised ValueError: no such thing"]),
        # who gives up first ends, and the others lose it: each is told with what it waited for
        (
            nobody_sends,
            [
                "waited 2 seconds in Receive",
                *(rf"rank {r} waited .*in Receive\(source={(r + 1) % 3}\)" for r in range(3)),
            ],
        ),
    ],
)
def test_processes_end_and_the_cause_is_named(program, messages, monkeypatch):
    monkeypatch.setattr(gloo, "GRACE", 30.0)  # on a busy machine it takes a rank long to say what it waited for
    start = time.monotonic()
    with pytest.raises(RanksError) as caught:
        run_processes(program, 3, timeout=2)
    assert time.monotonic() - start < 100
    for message in messages:
        assert re.search(message, str(caught.value)), caught.value
