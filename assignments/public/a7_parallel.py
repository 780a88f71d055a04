"""Public checks of a7_parallel: run them as often as you like. The hidden checks judge the same things on other inputs."""

import torch

from cs336lite.course.show import expect_close, expect_equal
from cs336lite.course.spec import check, expect

HINTS = {
    "ring": [
        "Play the table with three ranks on paper. Which chunk does rank r send in step s, and which one does it receive?",
        "Copy x, look at it as one dimension, cut that with tensor_split(world_size): these are views, so what is added to "
        "a chunk is added to the copy. In step s rank r sends chunk r - s, and adds what comes to chunk r - s - 1.",
        "First loop: yield Send(after, chunks[(rank - step) % p]), then add (yield Receive(before)) to chunk rank - step - 1. "
        "Second loop: send chunk rank + 1 - step, and copy what comes into chunk rank - step.",
    ],
    "buckets": [
        "Two things are to be done: decide which gradients travel together, then carry them there and back. Begin with the first.",
        "Go through reversed(parameters) with the bytes that are left in the bucket. A new bucket begins when a gradient does "
        "not fit, or its dtype differs. All ranks must decide the same, so nothing may depend on which gradients are None.",
        "flat = torch.cat([p.grad.flatten() for p in bucket]); total = yield AllReduce(flat); then "
        "(total / world_size).split([p.numel() for p in bucket]), and copy each part, viewed as its parameter, into p.grad.",
    ],
    "zero": [
        "Which numbers must a rank know to update its part? And which of them does it not have before the step?",
        "torch.cat of all flattened parameters, tensor_split(world_size)[rank], and nn.Parameter of a copy of it: that is all "
        "that make_optimizer gets. In step, the gradients are flattened and cut in the same way.",
        "total = yield ReduceScatter(list of parts); shard.grad = total / world_size; optimizer.step(); parts = yield "
        "AllGather(shard.detach()); torch.cat(parts).split(numbers of each parameter), each copied under torch.no_grad().",
    ],
    "tensor": [
        "Write each product as a sum over the dimension that disappears. Is that dimension cut? Then each rank has one share.",
        "y of row-parallel adds over in, which is cut. grad_x of column-parallel adds over out, which is cut. Everything else "
        "adds over whole dimensions: of a part, each rank has all that it needs.",
        "grad_x = grad_y @ weight, grad_weight = grad_y.flatten(0, -2).T @ x.flatten(0, -2). The derivative of relu(h)² is "
        "2 * relu(h). The feed-forward is one column and one row layer, called by `yield from`.",
    ],
    "pipeline": [
        "How many micro-batches must be under way before the first backward can come back to a stage?",
        "The last stage needs no warm-up, the one before it one forward, and so on: num_stages - stage - 1. And when there are "
        "fewer micro-batches than that?",
        "warm_up = min(num_stages - stage - 1, num_microbatches) forwards; then for each i that is left (forward, i), "
        "(backward, i - warm_up); then the backwards that are still missing.",
    ],
}


# ---------------------------------------------------------------------------------------------------------------------
# 1 · ring


def run_ring(student, world_size, rows):
    """Results, bytes sent, whom each rank sends to, and the kinds of requests."""
    from cs336lite.collectives import run

    def program(rank, world_size):
        return (yield from student.ring_all_reduce(rank, world_size, rows[rank]))

    outcome = run(program, world_size)
    to = [sorted({e.to for e in outcome.trace if e.rank == rank and e.to is not None}) for rank in range(world_size)]
    return outcome.results, outcome.sent, to, sorted({event.kind for event in outcome.trace})


@check("ring", title="three ranks, three numbers")
def three_ranks(student, rng):
    rows = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0], [100.0, 200.0, 300.0]])
    results, sent, to, kinds = student.run(run_ring, 3, rows)
    for result in results:
        expect_close(
            result, torch.tensor([111.0, 222.0, 333.0]), "each rank has 1 + 10 + 100, 2 + 20 + 200, 3 + 30 + 300"
        )
    expect_equal(kinds, ["Send"], "only Send and Receive are asked for, so the requests that send something are")
    expect_equal(to, [[1], [2], [0]], "ranks 0, 1, 2 send to")
    expect_equal(sent, [16, 16, 16], "bytes that each rank sends: four messages of one float32")


@check("ring", title="sizes that do not fit, and one rank")
def odd_sizes(student, rng):
    for size, count in ((3, 5), (4, 2)):
        rows = torch.arange(float(size * count)).reshape(size, count)
        results, _, _, _ = student.run(run_ring, size, rows)
        expect_close(results[-1], rows.sum(0), f"{count} numbers on {size} ranks add up to")
    x = torch.ones(1, 2, 2)
    (result,), sent, _, _ = student.run(run_ring, 1, x)
    expect_close(result, torch.ones(2, 2), "one rank gets its own numbers")
    expect_equal(sent, [0], "one rank sends nothing")
    expect_equal(student.run(run_alone), [1.0, 1.0], "the result was filled with 9, and x must still be")


def run_alone(student):
    import torch

    from cs336lite.collectives import Send

    x = torch.ones(2)
    made = student.ring_all_reduce(0, 1, x)
    try:
        while not isinstance(next(made), Send):
            pass
    except StopIteration as end:
        end.value.fill_(9)
    return x.tolist()


# ---------------------------------------------------------------------------------------------------------------------
# 2 · buckets


def run_average(student, world_size, counts, bucket_bytes, absent, trained):
    """The gradients of the last rank afterwards, and the numbers in each all-reduce; rank r has gradients of r + 1."""
    import torch

    from cs336lite.collectives import run

    def program(rank, world_size):
        parameters = [torch.nn.Parameter(torch.zeros(count)) for count in counts]
        for i, parameter in enumerate(parameters):
            if [rank, i] not in absent and trained[i]:
                parameter.grad = torch.full_like(parameter, (rank + 1) * 10.0**i)
            parameter.requires_grad_(trained[i])
        yield from student.average_gradients(rank, world_size, parameters, bucket_bytes)
        return [None if p.grad is None else p.grad.tolist() for p in parameters]

    outcome = run(program, world_size)
    return outcome.results[-1], [event.bytes for event in outcome.trace if event.rank == 0]


@check("buckets", title="two ranks, by hand")
def by_hand(student, rng):
    grads, _ = student.run(run_average, 2, [2, 1], 1_000, [], [True, True])
    expect_equal(grads, [[1.5, 1.5], [15.0]], "rank 0 has gradients 1 and 10, rank 1 has 2 and 20, and the means are")


@check("buckets", title="the buckets of the assignment")
def packed(student, rng):
    for most, wanted in ((20, [20, 20]), (16, [4, 16, 8, 12])):
        _, sent = student.run(run_average, 2, [3, 2, 4, 1], most, [], [True] * 4)
        expect_equal(sent, wanted, f"3, 2, 4, 1 numbers in buckets of {most} bytes: bytes in each all-reduce")


@check("buckets", title="None, and what is not trained")
def missing(student, rng):
    grads, _ = student.run(run_average, 2, [1, 1], 1_000, [[1, 0]], [True, True])
    expect_equal(grads, [[0.5], [15.0]], "rank 1 has None for the first one, which counts as 0: the means are")
    grads, _ = student.run(run_average, 2, [1, 1], 1_000, [], [True, False])
    expect_equal(grads, [[1.5], None], "a parameter with requires_grad=False has no gradient afterwards")


# ---------------------------------------------------------------------------------------------------------------------
# 3 · zero


def run_zero(student, world_size, counts, steps, momentum):
    """The parameters of all ranks after some steps, sizes of shards, kinds; rank r has gradients r + 1, r + 2, ..."""
    import torch

    from cs336lite.collectives import run

    sizes = []

    def make(parameters):
        sizes.append(sum(p.numel() for p in parameters))
        return torch.optim.SGD(parameters, lr=1.0, momentum=momentum)

    def program(rank, world_size):
        parameters = [torch.nn.Parameter(torch.zeros(count)) for count in counts]
        optimizer = student.ZeroOptimizer(rank, world_size, parameters, make)
        for _ in range(steps):
            for parameter in parameters:
                parameter.grad = torch.arange(parameter.numel()) + rank + 1.0
            yield from optimizer.step()
        return [p.tolist() for p in parameters]

    outcome = run(program, world_size)
    return outcome.results, sizes, [event.kind for event in outcome.trace if event.rank == 0]


@check("zero", title="one step, two ranks")
def one_step(student, rng):
    results, sizes, kinds = student.run(run_zero, 2, [3, 1], 1, 0.0)
    for result in results:
        expect_equal(
            result,
            [[-1.5, -2.5, -3.5], [-1.5]],
            "learning rate 1, mean gradients 1.5, 2.5, 3.5 and 1.5: all ranks have",
        )
    expect_equal(sizes, [2, 2], "of four numbers make_optimizer is given, on the two ranks")
    expect_equal(kinds, ["ReduceScatter", "AllGather"], "a step asks for")


@check("zero", title="momentum, three ranks, five numbers")
def momentum(student, rng):
    results, _, _ = student.run(run_zero, 3, [3, 2], 2, 0.5)
    for result in results:
        expect_equal(result, [[-5.0, -7.5, -10.0], [-5.0, -7.5]], "two steps move each number by 2.5 mean gradients")


# ---------------------------------------------------------------------------------------------------------------------
# 4 · tensor


def run_shards(student, rows, columns, world_size, dim):
    import torch

    weight = torch.arange(float(rows * columns)).reshape(rows, columns)
    return [student.shard(weight, rank, world_size, dim).clone() for rank in range(world_size)]


@check("tensor", title="7 rows on 3 ranks")
def seven_rows(student, rng):
    parts = student.run(run_shards, 7, 2, 3, 0)
    expect_equal([len(part) for part in parts], [3, 2, 2], "the parts have rows")
    expect_close(torch.cat(parts), torch.arange(14.0).reshape(7, 2), "one under the other they are the weight")
    parts = student.run(run_shards, 2, 4, 2, 1)
    expect_close(
        parts[1], torch.tensor([[2.0, 3.0], [6.0, 7.0]]), "of [[0, 1, 2, 3], [4, 5, 6, 7]] rank 1 has, along dim 1"
    )


def run_layer(student, function, world_size, given):
    """What each rank returns, as a list, and the collectives it asks for."""
    import torch

    from cs336lite.collectives import run

    def program(rank, world_size):
        made = yield from getattr(student, function)(rank, world_size, *given[rank])
        return [made] if isinstance(made, torch.Tensor) else list(made)

    outcome = run(program, world_size)
    return outcome.results, [event.kind for event in outcome.trace if event.rank == 0]


X, W, G = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 10.0]])


@check("tensor", title="a column-parallel layer, by hand")
def columns(student, rng):
    results, kinds = student.run(run_layer, "column_forward", 2, [[X, W[:1]], [X, W[1:]]])
    expect_equal([r[0].tolist() for r in results], [[[5.0]], [[11.0]]], "x = [1, 2], rows [1, 2] and [3, 4] of W: y is")
    expect_equal(kinds, [], "column_forward needs nobody: it asks for")
    results, kinds = student.run(run_layer, "column_backward", 2, [[X, W[:1], G[:, :1]], [X, W[1:], G[:, 1:]]])
    for rank, (grad_x, grad_weight) in enumerate(results):
        expect_equal(grad_x.tolist(), [[31.0, 42.0]], "gradients of y 1 and 10: grad_x is 1 * [1, 2] + 10 * [3, 4]")
        expect_equal(
            grad_weight.tolist(), [[1.0, 2.0], [10.0, 20.0]][rank : rank + 1], f"grad_weight of rank {rank} is"
        )


@check("tensor", title="a row-parallel layer, by hand")
def rows(student, rng):
    given = [[X[:, i : i + 1], W[:, i : i + 1]] for i in range(2)]
    results, _ = student.run(run_layer, "row_forward", 2, given)
    for (y,) in results:
        expect_equal(y.tolist(), [[5.0, 11.0]], "x = [1 | 2], W = [[1 | 2], [3 | 4]]: y on each rank is")
    results, kinds = student.run(run_layer, "row_backward", 2, [[*one, G] for one in given])
    expect_equal(
        [r[0].tolist() for r in results], [[[31.0]], [[42.0]]], "gradients of y 1 and 10: grad_x of each rank is"
    )
    expect_equal(results[1][1].tolist(), [[2.0], [20.0]], "grad_weight of rank 1 is")
    expect_equal(kinds, [], "row_backward needs nobody: it asks for")


@check("tensor", title="a feed-forward against autograd")
def against_autograd(student, rng):
    made = torch.Generator().manual_seed(rng.getrandbits(40))
    x, w1, w2, g = (torch.randn(shape, generator=made) for shape in ((2, 3, 4), (6, 4), (4, 6), (2, 3, 4)))
    leaves = [t.clone().requires_grad_() for t in (x, w1, w2)]
    y = (leaves[0] @ leaves[1].T).relu().square() @ leaves[2].T
    wanted = torch.autograd.grad(y, leaves, g)
    given = [[x, w1[3 * i : 3 * i + 3], w2[:, 3 * i : 3 * i + 3]] for i in range(2)]
    results, kinds = student.run(run_layer, "feed_forward", 2, given)
    expect_close(results[1][0], y.detach(), "y of relu(x w1ᵀ)² w2ᵀ is", 1e-4)
    expect_equal(kinds, ["AllReduce"], "feed_forward asks for")
    results, kinds = student.run(run_layer, "feed_forward_backward", 2, [[*one, g] for one in given])
    expect(len(results[1]) == 3, "feed_forward_backward returns three gradients: of x, w1 and w2")
    expect_close(results[1][0], wanted[0], "grad_x is, by autograd", 1e-4)
    expect_close(results[1][1], wanted[1][3:], "grad_w1 of rank 1 is, by autograd", 1e-4)
    expect_close(results[1][2], wanted[2][:, 3:], "grad_w2 of rank 1 is, by autograd", 1e-4)
    expect_equal(kinds, ["AllReduce"], "feed_forward_backward asks for")


# ---------------------------------------------------------------------------------------------------------------------
# 5 · pipeline


def run_schedule(student, stage, num_stages, num_microbatches):
    order = student.one_forward_one_backward(stage, num_stages, num_microbatches)
    return " ".join(f"{'F' if kind == 'forward' else 'B' if kind == 'backward' else '?'}{i}" for kind, i in order)


@check("pipeline", title="the table of the assignment")
def table(student, rng):
    wanted = [
        "F0 F1 F2 B0 F3 B1 F4 B2 B3 B4",
        "F0 F1 B0 F2 B1 F3 B2 F4 B3 B4",
        "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4",
    ]
    for stage, order in enumerate(wanted):
        expect_equal(student.run(run_schedule, stage, 3, 5), order, f"stage {stage} of 3 with 5 micro-batches does")


@check("pipeline", title="one micro-batch, one stage")
def smallest(student, rng):
    expect_equal(student.run(run_schedule, 0, 4, 1), "F0 B0", "the first of four stages with 1 micro-batch does")
    expect_equal(student.run(run_schedule, 0, 1, 2), "F0 B0 F1 B1", "a single stage with 2 micro-batches does")
