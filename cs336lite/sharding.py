# Built from assignments/text/a7_parallel.py by `cs336lite build`: edit that file, not this one.
"""One model on many ranks (并行训练): a ring all-reduce, buckets of gradients, ZeRO-1, column and row parallelism, 1F1B.

Each function runs on one of ``world_size`` ranks and is a generator: it yields requests of `cs336lite.collectives`, and
whoever drives it sends the answers in. Ranks share no memory.

Patarasuk and Yuan 2009, https://doi.org/10.1016/j.jpdc.2008.09.002 (ring); Li et al. 2020, https://arxiv.org/abs/2006.15704
(buckets); Rajbhandari et al. 2019, https://arxiv.org/abs/1910.02054 (ZeRO); Shoeybi et al. 2019,
https://arxiv.org/abs/1909.08053 (column and row); Narayanan et al. 2021, https://arxiv.org/abs/2104.04473 (1F1B).

Built in assignments/source/a7_parallel/a7_parallel.ipynb.
"""

from collections.abc import Callable, Generator, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from cs336lite.collectives import AllGather, AllReduce, Receive, ReduceScatter, Send


def ring_all_reduce(
    rank: int, world_size: int, x: Shaped[Tensor, "*shape"]
) -> Generator[Send | Receive, Tensor | None, Shaped[Tensor, "*shape"]]:
    """The sum of all ranks' ``x``, by messages to the next rank (Patarasuk and Yuan 2009).

    >>> from cs336lite.collectives import run
    >>> outcome = run(ring_all_reduce, 3, torch.tensor([1.0, 2.0, 3.0]))
    >>> outcome.results[2].tolist(), outcome.sent
    ([3.0, 6.0, 9.0], [16, 16, 16])
    """
    result = x.detach().clone(memory_format=torch.contiguous_format)
    chunks = result.view(-1).tensor_split(world_size)
    after, before = (rank + 1) % world_size, (rank - 1) % world_size
    for step in range(world_size - 1):  # reduce-scatter: at the end chunk rank + 1 is complete
        yield Send(after, chunks[(rank - step) % world_size])
        chunks[(rank - step - 1) % world_size].add_((yield Receive(before)))
    for step in range(world_size - 1):  # all-gather
        yield Send(after, chunks[(rank + 1 - step) % world_size])
        chunks[(rank - step) % world_size].copy_((yield Receive(before)))
    return result


def average_gradients(
    rank: int, world_size: int, parameters: Sequence[nn.Parameter], bucket_bytes: int
) -> Generator[AllReduce, Tensor, None]:
    """Make each parameter's gradient the mean over ranks, in buckets of at most ``bucket_bytes`` (2006.15704, section 3.2.3).

    >>> from cs336lite.collectives import run
    >>> def program(rank, world_size):
    ...     weight = nn.Parameter(torch.zeros(2))
    ...     weight.grad = torch.tensor([1.0, 10.0]) * rank
    ...     yield from average_gradients(rank, world_size, [weight], 1_000)
    ...     return weight.grad.tolist()
    >>> run(program, 3).results[0]
    [1.0, 10.0]
    """
    buckets, room = [], 0
    for parameter in reversed([p for p in parameters if p.requires_grad]):
        size = parameter.numel() * parameter.element_size()
        if not buckets or size > room or parameter.dtype != buckets[-1][0].dtype:
            buckets.append([])
            room = bucket_bytes
        buckets[-1].append(parameter)
        room -= size
    for bucket in buckets:
        for parameter in bucket:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        total = yield AllReduce(torch.cat([p.grad.flatten() for p in bucket]))
        parts = (total / world_size).split([p.numel() for p in bucket])
        for parameter, part in zip(bucket, parts, strict=True):
            parameter.grad.copy_(part.view_as(parameter))


class ZeroOptimizer:
    """An optimizer whose state is sharded over ranks: stage 1 of ZeRO (1910.02054).

    ``make_optimizer([shard])`` gives what updates this rank's part of all parameters; ``step()`` is a generator.

    >>> from cs336lite.collectives import run
    >>> def program(rank, world_size):
    ...     weight = nn.Parameter(torch.zeros(3))
    ...     optimizer = ZeroOptimizer(rank, world_size, [weight], lambda shard: torch.optim.SGD(shard, lr=1.0))
    ...     weight.grad = torch.tensor([1.0, 2.0, 3.0]) * rank
    ...     yield from optimizer.step()
    ...     return weight.tolist()
    >>> run(program, 2).results[0]
    [-0.5, -1.0, -1.5]
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        parameters: Sequence[nn.Parameter],
        make_optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    ) -> None:
        self.world_size, self.parameters = world_size, list(parameters)
        flat = torch.cat([p.detach().flatten() for p in self.parameters])
        self.shard = nn.Parameter(flat.tensor_split(world_size)[rank].clone())
        self.optimizer = make_optimizer([self.shard])

    def step(self) -> Generator[ReduceScatter | AllGather, Tensor | list[Tensor], None]:
        """Update all parameters by the mean of all ranks' gradients."""
        gradients = torch.cat([p.grad.flatten() for p in self.parameters])
        total = yield ReduceScatter(gradients.tensor_split(self.world_size))
        self.shard.grad = total / self.world_size
        self.optimizer.step()
        flat = torch.cat((yield AllGather(self.shard.detach())))
        with torch.no_grad():
            for parameter, part in zip(self.parameters, flat.split([p.numel() for p in self.parameters]), strict=True):
                parameter.copy_(part.view_as(parameter))


Asks = Generator[AllReduce, Tensor, Tensor]
AsksForTwo = Generator[AllReduce, Tensor, tuple[Tensor, Tensor]]


def shard(weight: Float[Tensor, "out in"], rank: int, world_size: int, dim: int) -> Float[Tensor, "out_r in_r"]:
    """A copy of this rank's part of a weight, cut along ``dim`` as evenly as possible, larger parts first.

    >>> [len(shard(torch.zeros(7, 2), rank, 3, 0)) for rank in range(3)]
    [3, 2, 2]
    """
    return weight.tensor_split(world_size, dim)[rank].clone()


def column_forward(rank: int, world_size: int, x: Float[Tensor, "... in"], weight: Float[Tensor, "out_r in"]) -> Asks:
    """This rank's part of y (..., out_r), from all of x (1909.08053, section 3)."""
    yield from ()
    return x @ weight.T


def column_backward(
    rank: int,
    world_size: int,
    x: Float[Tensor, "... in"],
    weight: Float[Tensor, "out_r in"],
    grad_y: Float[Tensor, "... out_r"],
) -> AsksForTwo:
    """(grad_x, grad_weight): of all of x, and of this rank's part of the weight."""
    grad_x = yield AllReduce(grad_y @ weight)
    return grad_x, grad_y.flatten(0, -2).T @ x.flatten(0, -2)


def row_forward(rank: int, world_size: int, x: Float[Tensor, "... in_r"], weight: Float[Tensor, "out in_r"]) -> Asks:
    """All of y (..., out), from this rank's part of x."""
    return (yield AllReduce(x @ weight.T))


def row_backward(
    rank: int,
    world_size: int,
    x: Float[Tensor, "... in_r"],
    weight: Float[Tensor, "out in_r"],
    grad_y: Float[Tensor, "... out"],
) -> AsksForTwo:
    """(grad_x, grad_weight): of this rank's parts of x and of the weight."""
    yield from ()
    return grad_y @ weight, grad_y.flatten(0, -2).T @ x.flatten(0, -2)


def feed_forward(
    rank: int,
    world_size: int,
    x: Float[Tensor, "... d_model"],
    w1: Float[Tensor, "d_ff_r d_model"],
    w2: Float[Tensor, "d_model d_ff_r"],
) -> Asks:
    """All of y = relu(x w1ᵀ)² w2ᵀ, (..., d_model), from all of x.

    >>> from cs336lite.collectives import run
    >>> def program(rank, world_size):
    ...     w1, w2 = torch.ones(4, 2), torch.ones(2, 4)
    ...     parts = shard(w1, rank, world_size, 0), shard(w2, rank, world_size, 1)
    ...     y = yield from feed_forward(rank, world_size, torch.ones(1, 2), *parts)
    ...     return y.tolist()
    >>> run(program, 3).results[0]
    [[16.0, 16.0]]
    """
    hidden = yield from column_forward(rank, world_size, x, w1)
    return (yield from row_forward(rank, world_size, hidden.relu().square(), w2))


def feed_forward_backward(
    rank: int,
    world_size: int,
    x: Float[Tensor, "... d_model"],
    w1: Float[Tensor, "d_ff_r d_model"],
    w2: Float[Tensor, "d_model d_ff_r"],
    grad_y: Float[Tensor, "... d_model"],
) -> Generator[AllReduce, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """(grad_x, grad_w1, grad_w2): of all of x, and of this rank's parts of the weights."""
    hidden = (yield from column_forward(rank, world_size, x, w1)).relu()
    grad_square, grad_w2 = yield from row_backward(rank, world_size, hidden.square(), w2, grad_y)
    grad_x, grad_w1 = yield from column_backward(rank, world_size, x, w1, 2 * hidden * grad_square)
    return grad_x, grad_w1, grad_w2


def one_forward_one_backward(stage: int, num_stages: int, num_microbatches: int) -> list[tuple[str, int]]:
    """What a stage does in order, ("forward", i) and ("backward", i), in the schedule 1F1B (2104.04473, section 2.2.1).

    >>> one_forward_one_backward(1, 2, 2)
    [('forward', 0), ('backward', 0), ('forward', 1), ('backward', 1)]
    """
    warm_up = min(num_stages - stage - 1, num_microbatches)
    order = [("forward", i) for i in range(warm_up)]
    for i in range(warm_up, num_microbatches):
        order += [("forward", i), ("backward", i - warm_up)]
    return order + [("backward", i) for i in range(num_microbatches - warm_up, num_microbatches)]
