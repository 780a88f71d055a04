# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
#   cs336lite: {module: sharding, minutes: 240, prerequisites: [02_tensors], device: CPU}
# ---

# %% [markdown]
# # Assignment 7 · Sharding: one model on many ranks (并行训练)
#
# **about 4 hours of work · prerequisites: PyTorch tensors, generators of Python, gradients by hand · device: CPU · 100 points**
#
# A model that is too large or too slow for one device is trained on many. Each of them runs the same program and is called a
# *rank* (进程编号). What a rank computes is easy. What it has to tell the others, and when, is the subject here: you will write
# an all-reduce, data parallelism, a sharded optimizer, tensor parallelism and a pipeline's schedule. Lecture 10 trains with
# them.
#
# | exercise | what you write | points |
# |---|---|---:|
# | `ring` | an all-reduce out of sends and receives | 22 |
# | `buckets` | gradients averaged over ranks, many in one message | 21 |
# | `zero` | an optimizer whose state is cut into shards | 22 |
# | `tensor` | column- and row-parallel layers, forward and backward | 25 |
# | `pipeline` | the order of work in a pipeline, 1F1B | 10 |
#
# ## How to work
#
# - Replace each `raise NotImplementedError` with your code. Keep names and arguments as they are; add cells and helper
#   functions wherever you like.
# - `check("a7_parallel", "ring")` runs the public checks of an exercise, `hint("a7_parallel", "ring")` gives one hint more each
#   time you ask, and `status()` shows where you stand. Hidden checks follow when you hand in. They judge the same things on
#   other inputs, and count the bytes that your ranks send.
# - The exercises do not need each other.
# - In each exercise most of the points are for all of it together, on ordinary input; the rest are for its single rules.
# - A cell whose first line is `#| export` becomes a part of the module `cs336lite.sharding`: keep that line. Functions,
#   classes and imports that such a cell needs go along from whatever cell they stand in.
# - The last cell writes this module into your copy of the package and runs the public checks on it. It reads the file of
#   this notebook, so save first (Ctrl+S, on a Mac Cmd+S).
#
# ## Ranks without processes
#
# No process is started here. **A rank is a generator**: where it needs the others it yields a *request*, and the value of
# that `yield` is the answer. A driver runs all ranks in turn and carries what they say:
#
# ```python
# def mean(rank, world_size, x):
#     total = yield AllReduce(x)          # waits for all ranks, then each gets the sum
#     return total / world_size
#
# outcome = run(mean, 4, torch.ones(3))   # outcome.results, one a rank; outcome.sent, bytes of each rank
# ```
#
# | request | answer |
# |---|---|
# | `Send(to, x)` | `None`, at once: a send waits for nobody |
# | `Receive(source)` | the next tensor that `source` sent to this rank; waits for it |
# | `AllReduce(x)` | the **sum** of all ranks' `x`, of one shape and dtype |
# | `ReduceScatter([x0, x1, …])` | one tensor for each rank goes in; the sum of those for this rank comes back |
# | `AllGather(x)` | the list of all ranks' `x`, in the order of ranks; first dimensions may differ |
#
# What arrives is a copy. Ranks share no memory, so use no global variables. A generator that calls another one writes
# `y = yield from other(…)`, and one that asks nobody contains `yield from ()`, which makes it a generator all the same. The
# requests and `run` are in `cs336lite.collectives`; lecture 10 runs the same functions in real processes.
#
# ## What differs from CS336
#
# CS336's assignment 2 asks for parallel training, too, on several GPUs.
#
# | here | CS336, assignment 2 |
# |---|---|
# | ranks are generators in one process, and bytes are counted | processes with `torch.distributed`, on gloo or NCCL |
# | the all-reduce is written | `dist.all_reduce` is called |
# | buckets are filled after the backward pass, `average_gradients(…)` | a DDP class that communicates during it |
# | the optimizer's state is cut through a flat vector, in equal parts | whole parameters are given to ranks, then broadcast |
# | tensor parallelism and a pipeline's schedule are graded | they are lectured on |
#
# Above each exercise stand its difficulty, how much the rest depends on it, and the minutes it takes most people.
#
# Sources: Patarasuk and Yuan 2009, [Bandwidth optimal all-reduce
# algorithms](https://doi.org/10.1016/j.jpdc.2008.09.002); Li et al. 2020, [PyTorch
# Distributed](https://arxiv.org/abs/2006.15704) (buckets); Rajbhandari et al. 2019,
# [ZeRO](https://arxiv.org/abs/1910.02054); Shoeybi et al. 2019, [Megatron-LM](https://arxiv.org/abs/1909.08053) (column and
# row); Narayanan et al. 2021, [Efficient Large-Scale Language Model Training on GPU
# Clusters](https://arxiv.org/abs/2104.04473) (1F1B).

# %% locked="setup"
from cs336lite.course import check, hint, status

# %%
#| export
"""One model on many ranks (并行训练): a ring all-reduce, buckets of gradients, ZeRO-1, column and row parallelism, 1F1B.

Each function runs on one of ``world_size`` ranks and is a generator: it yields requests of `cs336lite.collectives`, and
whoever drives it sends the answers in. Ranks share no memory.

Patarasuk and Yuan 2009, https://doi.org/10.1016/j.jpdc.2008.09.002 (ring); Li et al. 2020, https://arxiv.org/abs/2006.15704
(buckets); Rajbhandari et al. 2019, https://arxiv.org/abs/1910.02054 (ZeRO); Shoeybi et al. 2019,
https://arxiv.org/abs/1909.08053 (column and row); Narayanan et al. 2021, https://arxiv.org/abs/2104.04473 (1F1B).

Built in assignments/source/a7_parallel/a7_parallel.ipynb.
"""

# %%
#| export
from collections.abc import Callable, Generator, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from cs336lite.collectives import AllGather, AllReduce, Receive, ReduceScatter, Send

# %% [markdown]
# ## 1 · A ring all-reduce (`ring`)
#
# **Difficulty ●●●○○ · Importance ●●●●● · 60 minutes · 22 points**
#
# After an *all-reduce* (全归约) each of $p$ ranks has the sum of all their tensors. When each rank sends its whole tensor of $n$
# bytes to all others, it sends $n (p - 1)$ bytes. A *ring* (环) needs far fewer. Cut the tensor into $p$ *chunks*. Each rank
# sends to the next one only, $r \to r + 1$, the last to rank 0, one chunk in a step:
#
# 1. **Reduce-scatter**, $p - 1$ steps: a rank adds the chunk that arrives to its own, and sends that sum on in the next step.
#    At the end each rank has one chunk that is complete.
# 2. **All-gather**, $p - 1$ steps: the complete chunks go round, and replace what is there.
#
# With 3 ranks that hold $a$, $b$ and $c$, each in chunks 0, 1, 2:
#
# | step | rank 0 sends | rank 1 sends | rank 2 sends |
# |---:|---|---|---|
# | 1 | $a_0$ | $b_1$ | $c_2$ |
# | 2 | $a_2 + c_2$ | $b_0 + a_0$ | $c_1 + b_1$ |
# | 3 | all of chunk 1 | all of chunk 2 | all of chunk 0 |
# | 4 | all of chunk 0 | all of chunk 1 | all of chunk 2 |
#
# Rules:
# - A rank sends to rank `(rank + 1) % world_size` alone, $2 (p - 1)$ messages of at most $\lceil n / p \rceil$ numbers for a
#   tensor of $n$ numbers. Some may be empty when $n < p$. In bytes that is $2 (p - 1) \lceil n / p \rceil$ times those of a
#   number at most, and the hidden checks count them.
# - `x` has any shape and dtype, and stays as it is. The result has both of them and memory of its own, for one rank, too.
# - All ranks get the same bits.


# %% solution="ring"
#| export
def ring_all_reduce(
    rank: int, world_size: int, x: Shaped[Tensor, "*shape"]
) -> Generator[Send | Receive, Tensor | None, Shaped[Tensor, "*shape"]]:
    """The sum of all ranks' ``x``, by messages to the next rank (Patarasuk and Yuan 2009).

    >>> from cs336lite.collectives import run
    >>> outcome = run(ring_all_reduce, 3, torch.tensor([1.0, 2.0, 3.0]))
    >>> outcome.results[2].tolist(), outcome.sent
    ([3.0, 6.0, 9.0], [16, 16, 16])
    """
    ### BEGIN SOLUTION
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
    ### END SOLUTION


# %% grade="ring" points=22
check("a7_parallel", "ring")

# %% [markdown]
# ### Look: more ranks
#
# A tensor of 24,000 numbers, first on 2 ranks, then on 16. **Predict**: how many times as many bytes does each rank send
# when there are 16?

# %%
from cs336lite.collectives import run
from cs336lite.course.measure import reveal

guess = None
sent = {p: max(run(ring_all_reduce, p, torch.ones(24_000)).sent) for p in (2, 4, 16)}
for p, count in sent.items():
    print(f"{p:>2} ranks: each sends {count:>7,} bytes; to all others {96_000 * (p - 1):>9,}")
ratio = sent[16] / sent[2]
why = "8 or 15 times is right when everybody sends everything to all; chunks shrink as ranks are added"
reveal("times as many bytes", ratio, guess, within=1.05, because={8: why, 15: why})
assert ratio < 2

# %% [markdown]
# It stays below twice the tensor, whatever the number of ranks. Only the number of steps grows.
#
# ## 2 · Gradients in buckets (`buckets`)
#
# **Difficulty ●●○○○ · Importance ●●●●● · 40 minutes · 21 points**
#
# *Data parallelism* (数据并行): all ranks have the same parameters, each computes the gradients of its own part of the batch, and
# the **mean** over ranks is what one process would have had for all of it. A message for each parameter is slow, because
# each one costs its start-up time, and a single message for all would have to wait for the last gradient. So gradients are
# packed into *buckets* (桶) of at most `bucket_bytes`, from the last parameter to the first, since the backward pass makes
# them in this order.
#
# By hand, float32, parameters of 3, 2, 4 and 1 numbers, buckets of 20 bytes: the buckets hold parameters (3, 2), since 4 + 16
# bytes are 20, and (1, 0), since 8 + 12 are 20. With buckets of 16 bytes they hold (3), (2), (1), (0).
#
# Rules:
# - After it, `.grad` of each parameter is the mean over ranks, in its shape and dtype. Values, order and number of the
#   parameters stay as they are.
# - From the last parameter to the first: a gradient joins the current bucket when it fits and has the bucket's dtype;
#   otherwise it begins the next bucket. A gradient larger than `bucket_bytes` has a bucket of its own.
# - One `AllReduce` of a flat tensor for each bucket, and nothing else is sent.
# - A parameter with `requires_grad=False` is left out. A `.grad` that is `None` counts as zeros, since other ranks may have
#   one, and is a tensor afterwards.


# %% solution="buckets"
#| export
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
    ### BEGIN SOLUTION
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
    ### END SOLUTION


# %% grade="buckets" points=21
check("a7_parallel", "buckets")

# %% [markdown]
# ### Look: one process or four ranks
#
# The same small network sees 32 rows at once, and 8 rows on each of 4 ranks. **Predict**: how many all-reduces does it take,
# for six weights of $64 \times 64$ float32 numbers and buckets of 40,000 bytes?

# %%
guess = None


def network():
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Sequential(nn.Linear(64, 64, bias=False), nn.Tanh()) for _ in range(6)))


def backward(model, rows):
    model(rows).square().mean().backward()
    return [p.grad for p in model.parameters()]


def data_parallel(rank, world_size, rows):
    model = network()
    backward(model, rows.chunk(world_size)[rank])
    yield from average_gradients(rank, world_size, list(model.parameters()), 40_000)
    return [p.grad for p in model.parameters()]


rows = torch.randn(32, 64, generator=torch.Generator().manual_seed(1))
alone = backward(network(), rows)
outcome = run(data_parallel, 4, rows)
for grads in outcome.results:
    assert all(torch.allclose(one, other, atol=1e-7) for one, other in zip(grads, alone, strict=True))
count = sum(event.rank == 0 for event in outcome.trace)
why = "a weight has 16,384 bytes, so two fit into 40,000, and three do not"
reveal("all-reduces", count, guess, because={6: why, 2: why})

# %% [markdown]
# The gradients are those of one process. They are equal to rounding only, because sums are added in another order.
#
# ## 3 · An optimizer in shards (`zero`)
#
# **Difficulty ●●●○○ · Importance ●●●●○ · 50 minutes · 22 points**
#
# With data parallelism every rank keeps the same optimizer state and makes the same update. *ZeRO* stage 1 (零冗余优化器) gives
# each rank a *shard* (分片) of it. All parameters, one after the other, are one flat vector of $n$ numbers. It is cut into $p$
# parts, one for each rank in the order of ranks. In a step
#
# 1. a reduce-scatter gives each rank the summed gradients of **its part alone**, which it divides by $p$;
# 2. the rank updates its part, with an optimizer that knows no other parameter;
# 3. an all-gather collects the parts, and each rank copies them into its parameters.
#
# A reduce-scatter and an all-gather send as much as one all-reduce. So the memory is saved at no price.
#
# Rules:
# - `make_optimizer` takes a list of parameters and returns an optimizer of `torch.optim` that looks at each number by itself,
#   such as SGD or AdamW. It is called once, with one flat parameter: the shard. So is its state kept from step to step.
# - Parts are as equal as possible: none has more than $\lceil n / p \rceil$ numbers. Zeros may be added at the end to
#   make all parts equal. The shard is no slice of a larger tensor, which would keep all of that in memory.
# - After a step all parameters, in place, are what one optimizer of all of them would have made of the mean gradients.
# - All parameters have one dtype, and each has a gradient when `step` is called. Gradients stay as they are.
# - `step` yields one `ReduceScatter` and one `AllGather`. `__init__` talks to nobody.


# %% solution="zero"
#| export
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
        ### BEGIN SOLUTION
        self.world_size, self.parameters = world_size, list(parameters)
        flat = torch.cat([p.detach().flatten() for p in self.parameters])
        self.shard = nn.Parameter(flat.tensor_split(world_size)[rank].clone())
        self.optimizer = make_optimizer([self.shard])
        ### END SOLUTION

    def step(self) -> Generator[ReduceScatter | AllGather, Tensor | list[Tensor], None]:
        """Update all parameters by the mean of all ranks' gradients."""
        ### BEGIN SOLUTION
        gradients = torch.cat([p.grad.flatten() for p in self.parameters])
        total = yield ReduceScatter(gradients.tensor_split(self.world_size))
        self.shard.grad = total / self.world_size
        self.optimizer.step()
        flat = torch.cat((yield AllGather(self.shard.detach())))
        with torch.no_grad():
            for parameter, part in zip(self.parameters, flat.split([p.numel() for p in self.parameters]), strict=True):
                parameter.copy_(part.view_as(parameter))
        ### END SOLUTION


# %% grade="zero" points=22
check("a7_parallel", "zero")

# %% [markdown]
# ### Look: what is saved
#
# In float32 a parameter takes 4 bytes, its gradient 4, and AdamW's two moments 8. **Predict**: by what factor does the memory
# of a rank shrink when ZeRO-1 runs on 8 ranks?

# %%
guess = None


def held(rank, world_size):
    weight = nn.Parameter(torch.ones(80, 100))
    optimizer = ZeroOptimizer(rank, world_size, [weight], torch.optim.AdamW)
    weight.grad = torch.ones_like(weight)
    yield from optimizer.step()
    kept = optimizer.optimizer.state.values()
    return 8 * weight.numel() + sum(x.numel() * 4 for moments in kept for x in moments.values() if x.ndim)


one, eight = run(held, 1).results[0], run(held, 8).results[0]
print(f"{one:,} bytes on one rank, {eight:,} on each of 8")
why = "only the moments are cut into shards, 8 of the 16 bytes; stages 2 and 3 cut gradients and parameters, too"
reveal(
    "factor", one / eight, guess, within=1.05, because={8: why, 2: "close: of the 8 bytes of the moments one is left"}
)
assert one / eight < 2

# %% [markdown]
# ## 4 · Layers in shards (`tensor`)
#
# **Difficulty ●●●●○ · Importance ●●●●○ · 60 minutes · 25 points**
#
# *Tensor parallelism* (张量并行) cuts the weights themselves. A linear layer $y = x W^\top$ with $W$ of shape `(out, in)` can be cut
# in two ways. Write $W_r$, $x_r$, $y_r$ for the parts of rank $r$:
#
# | | cut | each rank has | each rank computes | the layer is complete when |
# |---|---|---|---|---|
# | *column-parallel* (列并行) | `out` | all of $x$ | $y_r = x W_r^\top$ | the $y_r$ stand side by side |
# | *row-parallel* (行并行) | `in` | $x_r$ | $x_r W_r^\top$ | all ranks' results are added |
#
# (The names speak of $W^\top$.) Backward, $g$ is the gradient of the loss by $y$. For a whole layer the gradient by $x$ is $g W$ and
# the one by $W$ is $g^\top x$, summed over all rows. Who must talk to whom is for you to find out: which results are complete,
# and which are one rank's share of a sum?
#
# A feed-forward $y = \text{relu}(x W_1^\top)^2\, W_2^\top$ puts the first behind the second: $W_1$ column-parallel, $W_2$
# row-parallel. Between them nothing needs to be said.
#
# | | shape on one rank | |
# |---|---|---|
# | `x`, `grad_x`, column-parallel | `(..., in)` | the same on all ranks |
# | `y`, `grad_y`, column-parallel | `(..., out_r)` | this rank's part |
# | `x`, `grad_x`, row-parallel | `(..., in_r)` | this rank's part |
# | `y`, `grad_y`, row-parallel | `(..., out)` | the same on all ranks |
# | `weight`, `grad_weight` | `(out_r, in)` or `(out, in_r)` | this rank's part |
# | `w1`, `w2` | `(d_ff_r, d_model)`, `(d_model, d_ff_r)` | |
#
# Rules:
# - `shard(weight, rank, world_size, dim)` cuts along `dim`, in the order of ranks. Sizes differ by at most one, and the larger
#   parts come first: 7 rows on 3 ranks are 3, 2, 2. The part has memory of its own.
# - What is the same on all ranks, or should be, is complete on all ranks when the generator ends.
# - At most one `AllReduce` in each function, and only where it is needed; the feed-forward has one in each direction.
#   Nothing else is sent.
# - Weights and activations stay as they are. No autograd is needed: gradients come by the formulas.


# %% solution="tensor"
#| export
Asks = Generator[AllReduce, Tensor, Tensor]
AsksForTwo = Generator[AllReduce, Tensor, tuple[Tensor, Tensor]]


def shard(weight: Float[Tensor, "out in"], rank: int, world_size: int, dim: int) -> Float[Tensor, "out_r in_r"]:
    """A copy of this rank's part of a weight, cut along ``dim`` as evenly as possible, larger parts first.

    >>> [len(shard(torch.zeros(7, 2), rank, 3, 0)) for rank in range(3)]
    [3, 2, 2]
    """
    ### BEGIN SOLUTION
    return weight.tensor_split(world_size, dim)[rank].clone()
    ### END SOLUTION


def column_forward(rank: int, world_size: int, x: Float[Tensor, "... in"], weight: Float[Tensor, "out_r in"]) -> Asks:
    """This rank's part of y (..., out_r), from all of x (1909.08053, section 3)."""
    ### BEGIN SOLUTION
    yield from ()
    return x @ weight.T
    ### END SOLUTION


def column_backward(
    rank: int,
    world_size: int,
    x: Float[Tensor, "... in"],
    weight: Float[Tensor, "out_r in"],
    grad_y: Float[Tensor, "... out_r"],
) -> AsksForTwo:
    """(grad_x, grad_weight): of all of x, and of this rank's part of the weight."""
    ### BEGIN SOLUTION
    grad_x = yield AllReduce(grad_y @ weight)
    return grad_x, grad_y.flatten(0, -2).T @ x.flatten(0, -2)
    ### END SOLUTION


def row_forward(rank: int, world_size: int, x: Float[Tensor, "... in_r"], weight: Float[Tensor, "out in_r"]) -> Asks:
    """All of y (..., out), from this rank's part of x."""
    ### BEGIN SOLUTION
    return (yield AllReduce(x @ weight.T))
    ### END SOLUTION


def row_backward(
    rank: int,
    world_size: int,
    x: Float[Tensor, "... in_r"],
    weight: Float[Tensor, "out in_r"],
    grad_y: Float[Tensor, "... out"],
) -> AsksForTwo:
    """(grad_x, grad_weight): of this rank's parts of x and of the weight."""
    ### BEGIN SOLUTION
    yield from ()
    return grad_y @ weight, grad_y.flatten(0, -2).T @ x.flatten(0, -2)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    hidden = yield from column_forward(rank, world_size, x, w1)
    return (yield from row_forward(rank, world_size, hidden.relu().square(), w2))
    ### END SOLUTION


def feed_forward_backward(
    rank: int,
    world_size: int,
    x: Float[Tensor, "... d_model"],
    w1: Float[Tensor, "d_ff_r d_model"],
    w2: Float[Tensor, "d_model d_ff_r"],
    grad_y: Float[Tensor, "... d_model"],
) -> Generator[AllReduce, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """(grad_x, grad_w1, grad_w2): of all of x, and of this rank's parts of the weights."""
    ### BEGIN SOLUTION
    hidden = (yield from column_forward(rank, world_size, x, w1)).relu()
    grad_square, grad_w2 = yield from row_backward(rank, world_size, hidden.square(), w2, grad_y)
    grad_x, grad_w1 = yield from column_backward(rank, world_size, x, w1, 2 * hidden * grad_square)
    return grad_x, grad_w1, grad_w2
    ### END SOLUTION


# %% grade="tensor" points=25
check("a7_parallel", "tensor")

# %% [markdown]
# ### Look: tokens against weights
#
# Data parallelism sends gradients of weights, tensor parallelism sends activations. A feed-forward with `d_model` 256 and
# `d_ff` 1024 on 4 ranks. **Predict**: at how many tokens a step does tensor parallelism send as much as data parallelism does?

# %%
guess = None
d_model, d_ff = 256, 1024


def both_ways(rank, world_size, tokens):
    w1, w2 = (
        shard(torch.zeros(*shape), rank, world_size, dim)
        for dim, shape in enumerate([(d_ff, d_model), (d_model, d_ff)])
    )
    x = torch.zeros(tokens, d_model)
    y = yield from feed_forward(rank, world_size, x, w1, w2)
    yield from feed_forward_backward(rank, world_size, x, w1, w2, y)


by_token = run(both_ways, 4, 64).sent[0] / 64
gradients = run(ring_all_reduce, 4, torch.zeros(2 * d_model * d_ff)).sent[0]
print(f"{by_token:,.0f} bytes for each token, {gradients:,} bytes for the gradients of both weights")
why = "two all-reduces of 256 numbers for each token, and one all-reduce of 2 * 256 * 1024 numbers: d_ff tokens"
reveal("tokens", gradients / by_token, guess, within=1.1, because={256: why, 2048: why})

# %% [markdown]
# A training step has many more tokens than that. So tensor parallelism belongs where links are fast, inside one machine.
#
# ## 5 · One forward, one backward (`pipeline`)
#
# **Difficulty ●●●○○ · Importance ●●●○○ · 30 minutes · 10 points**
#
# *Pipeline parallelism* (流水线并行) gives each rank, a *stage* (阶段), some of the layers. The batch is cut into *micro-batches* (微批次),
# so that stages work at the same time. Micro-batch $i$ goes forward through stages 0, 1, …, then backward through them in
# reverse. A stage keeps the activations of a micro-batch from its forward to its backward. When all forwards come first
# (GPipe), that are all micro-batches. *1F1B* does a backward as soon as it can. For 3 stages and 5 micro-batches, forward
# in plain, backward in bold, in the order in which each stage works:
#
# | stage | warm-up | one forward, one backward | cool-down |
# |---:|---|---|---|
# | 0 | 0 1 | 2 **0** 3 **1** 4 **2** | **3** **4** |
# | 1 | 0 | 1 **0** 2 **1** 3 **2** 4 **3** | **4** |
# | 2 | | 0 **0** 1 **1** 2 **2** 3 **3** 4 **4** | |
#
# Rules:
# - The answer is the list of what a stage does, in order: `("forward", i)` or `("backward", i)`, each once for each $i$.
# - Stage $s$ of $p$ never holds more than $p - s$ micro-batches, and takes as many as that when there are enough.
# - All stages together come to their end, in the least time that is possible for a forward and a backward of any length.
# - There may be fewer micro-batches than stages, and a single stage.


# %% solution="pipeline"
#| export
def one_forward_one_backward(stage: int, num_stages: int, num_microbatches: int) -> list[tuple[str, int]]:
    """What a stage does in order, ("forward", i) and ("backward", i), in the schedule 1F1B (2104.04473, section 2.2.1).

    >>> one_forward_one_backward(1, 2, 2)
    [('forward', 0), ('backward', 0), ('forward', 1), ('backward', 1)]
    """
    ### BEGIN SOLUTION
    warm_up = min(num_stages - stage - 1, num_microbatches)
    order = [("forward", i) for i in range(warm_up)]
    for i in range(warm_up, num_microbatches):
        order += [("forward", i), ("backward", i - warm_up)]
    return order + [("backward", i) for i in range(num_microbatches - warm_up, num_microbatches)]
    ### END SOLUTION


# %% grade="pipeline" points=10
check("a7_parallel", "pipeline")

# %% [markdown]
# ### Look: the bubble
#
# Stages wait at the beginning and at the end: the *bubble* (气泡). With 4 stages and 8 micro-batches, a forward of 1 and a
# backward of 2 units. **Predict**: which share of the time does a stage wait?

# %%
guess = None
stages, microbatches, cost = 4, 8, {"forward": 1, "backward": 2}
todo = [one_forward_one_backward(stage, stages, microbatches) for stage in range(stages)]
done, free = {}, [0] * stages
while any(todo):
    for stage, orders in enumerate(todo):
        if orders:
            kind, i = orders[0]
            beside = stage - 1 if kind == "forward" else stage + 1
            needs = [(kind, i, beside)] if 0 <= beside < stages else []
            needs += [("forward", i, stage)] if kind == "backward" else []
            if all(one in done for one in needs):
                free[stage] = max([free[stage], *(done[one] for one in needs)]) + cost[kind]
                done[(*orders.pop(0), stage)] = free[stage]
share = 1 - microbatches * 3 / max(free)
print(f"{max(free)} units of time, of which each stage works {microbatches * 3}")
why = "each stage waits for 3 forwards and 3 backwards, 9 units, and works for 24"
reveal("share", share, guess, within=1.05, because={"too small": why, "too large": why})

# %% [markdown]
# GPipe waits just as long. What 1F1B saves is memory: stage 0 holds 4 micro-batches here, and not all 8.

# %% [markdown]
# ## Where you stand
#
# Run `status()`, then save the notebook and run the last cell: your solution becomes `cs336lite.sharding`, and lecture 10
# runs on it.

# %%
status()

# %% locked="export"
from cs336lite.course import export_solution

export_solution("a7_parallel")
